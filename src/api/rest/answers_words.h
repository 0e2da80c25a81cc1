/* answers_words.h: how the members of answers are written down; for answers.c and its parts. */
#ifndef GANTRY_API_REST_ANSWERS_WORDS_H
#define GANTRY_API_REST_ANSWERS_WORDS_H

#include "api/rest/answers.h"

/* name, doc, example; the examples of texts are written without their quotes */
#define FIELD(name_, type_, doc_, ...)                                                             \
    {                                                                                              \
        .name = (name_), .type = (type_), .doc = (doc_), __VA_ARGS__                               \
    }
#define STR(n, d, ex) FIELD(n, ANSWER_STR, d, .example = "\"" ex "\"")
#define INT(n, d, ex) FIELD(n, ANSWER_INT, d, .example = #ex)
#define BOOL(n, d, ex) FIELD(n, ANSWER_BOOL, d, .example = #ex)
#define TIME(n, d, ex) FIELD(n, ANSWER_STR, d, .format = "date-time", .example = "\"" ex "\"")
#define ENUM(n, values_, d, ex)                                                                    \
    FIELD(n, ANSWER_STR, d, .values = (values_), .example = "\"" ex "\"")
#define STR_NULL(n, d, ex)                                                                         \
    FIELD(n, ANSWER_STR, d, .flags = ANSWER_NULLABLE | ANSWER_OPTIONAL, .example = "\"" ex "\"")
#define INT_NULL(n, d, ex)                                                                         \
    FIELD(n, ANSWER_INT, d, .flags = ANSWER_NULLABLE | ANSWER_OPTIONAL, .example = #ex)
#define LIST(n, of, d) FIELD(n, ANSWER_LIST, d, .ref = (of))

#define OPT ANSWER_OPTIONAL
#define STR_OPT(n, d, ex) FIELD(n, ANSWER_STR, d, .flags = OPT, .example = "\"" ex "\"")
#define INT_OPT(n, d, ex) FIELD(n, ANSWER_INT, d, .flags = OPT, .example = #ex)
#define BOOL_OPT(n, d, ex) FIELD(n, ANSWER_BOOL, d, .flags = OPT, .example = #ex)
#define TIME_OPT(n, d, ex)                                                                         \
    FIELD(n, ANSWER_STR, d, .flags = OPT, .format = "date-time", .example = "\"" ex "\"")
#define TIME_OR_NULL(n, d)                                                                         \
    FIELD(n, ANSWER_STR, d, .flags = ANSWER_NULLABLE, .format = "date-time", .example = "null")

#define EXPLANATION                                                                                \
    STR("kind", "workload, service or node", "workload"), STR("id", "Which one", "web"),           \
        STR("is", "What it is now", "stopped: exited with code 1"),                                \
        STR("should_be", "What it should be", "running"),                                          \
        STR("why", "Why it is not so", "its program ended with code 1, twice in a row"),           \
        TIME_OR_NULL("since", "Since when it is as it is"),                                        \
        STR("next", "What is tried next", "it is started again"),                                  \
        TIME_OR_NULL("next_at", "When that is"),                                                   \
        STR("asked_by", "Who wanted it so", "uid:0, 3 minutes ago"),                               \
        FIELD("waits_for", ANSWER_STRS, "Workloads that it waits for; of a node: what is amiss",   \
              .example = "[\"db\"]")
#endif
