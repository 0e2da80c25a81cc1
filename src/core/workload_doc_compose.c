/* workload_doc_compose.c: the rows of a Compose project (contract 5.2). */
#include "core/workload_doc_priv.h"

#include "base/mem.h"
#include "base/str.h"
#include "core/compose_text.h"

static int check_yaml(const void *member, struct err *e)
{
    char *decoded = NULL;
    const char *text = *(char *const *)member;
    int r = doc_decode_compose(text, &decoded, e);
    if (r == 0)
        r = compose_text_check(slice_of(decoded != NULL ? decoded : text), e);
    mem_free(decoded);
    return r;
}

static int check_name(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    return doc_has_control(text) ? doc_bad(e, text, "contains a control character") : 0;
}

static int check_compose(const void *obj, struct err *e)
{
    const struct doc_compose *c = obj;
    return doc_check_env_once(&c->env, &c->secret_env, e);
}

static const struct schema_field compose_rows[] = {
    {"compose_yaml", SCHEMA_STR, SCHEMA_REQUIRED, AT(doc_compose, compose_yaml), .min = 1,
     .max = COMPOSE_TEXT_MAX / 3 * 4 + 16384, .check = check_yaml,
     .doc = "The Compose file, as it is or in base64; it needs a mapping \"services\"",
     .example = "\"services: {web: {image: 'busybox:1.36'}}\""},
    {"project_name", SCHEMA_STR, SCHEMA_PLAIN, AT(doc_compose, project_name), .min = 1, .max = 256,
     .check = check_name,
     .doc = "Kept and shown; the name of the project is made from the workload's id"},
    {"env", SCHEMA_STR_MAP, SCHEMA_PLAIN, AT(doc_compose, env), .max = DOC_LIST_MAX,
     .check = doc_check_env, .doc = "Variables that the Compose file may refer to",
     .example = "{TAG: \"1.36\"}"},
    {"secret_env", SCHEMA_STR_MAP, SCHEMA_PLAIN | SCHEMA_SECRET, AT(doc_compose, secret_env),
     .max = DOC_LIST_MAX, .check = doc_check_env,
     .doc = "Variables whose values are stored sealed and never shown",
     .example = "{TOKEN: \"...\"}"},
    {"stop_timeout_s", SCHEMA_INT, 0, AT(doc_compose, stop_timeout_s), .max = 86400, .def = "0",
     .unit = "seconds",
     .doc = "Time of each service to end by itself before it is killed; 0: what the Compose file "
            "says"},
};
const struct schema doc_compose_schema = {"WorkloadCompose", sizeof(struct doc_compose),
                                          ROWS(compose_rows), .doc = "A project of Compose.",
                                          .check = check_compose};
