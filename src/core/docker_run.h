/* docker_run.h: a "docker run" command line as a workload document, so that what runs by hand can
 * be kept running.
 *
 * Nothing is dropped silently: a flag without an equivalent is named in the notes, as an error, or
 * as a warning where the workload does the same without it. Meanings are those of Docker's
 * reference of "docker container run". Pure: files, variables and the current directory come from
 * the caller.
 */
#ifndef GANTRY_CORE_DOCKER_RUN_H
#define GANTRY_CORE_DOCKER_RUN_H

#include "core/workload_doc.h"

#define DOCKER_RUN_TEXT_MAX (1024u * 1024u) /* bytes of a command line */
#define DOCKER_RUN_WORDS_MAX 4096
#define DOCKER_RUN_NOTES_MAX 100

struct docker_run_options {
    const char *id;  /* used when there is no --name; NULL: the last part of the image's name */
    const char *cwd; /* for "./data" and $PWD; NULL: such paths are errors */
    /* The value of a variable of the caller, for "-e NAME" and $NAME; NULL: there is none. The
     * pointer itself may be NULL. */
    const char *(*variable)(void *ctx, const char *name);
    /* Appends the content of a file, for --env-file and --label-file; may be NULL. */
    int (*file)(void *ctx, const char *path, struct buf *content, struct err *e);
    void *ctx;
    bool keep_going; /* flags without an equivalent are warnings, all of them */
};

struct docker_run_notes {
    struct schema_list errors, warnings; /* char *, whole sentences without a full stop */
};
void docker_run_notes_done(struct docker_run_notes *n);

/* The words of a command line: "docker run -d --name web nginx"; what is before "run" may be
 * missing. `d` and `notes` are initialised and must be done in any case. 0: d has passed
 * workload_doc_check. ERR_INVALID, ERR_UNSUPPORTED (nothing but flags without an equivalent): the
 * notes tell all, e the first one; ERR_LIMIT, ERR_NO_MEMORY. */
int docker_run_words(struct workload_doc *d, const char *const *words, size_t n,
                     const struct docker_run_options *o, struct docker_run_notes *notes,
                     struct err *e);
/* The same from one text with the quoting of a shell: '...', "...", backslashes, lines continued
 * with a backslash, comments. $NAME, ${NAME} and $(pwd) are filled in, without splitting; whatever
 * else a shell would act on is an error. */
int docker_run_text(struct workload_doc *d, struct slice text, const struct docker_run_options *o,
                    struct docker_run_notes *notes, struct err *e);

#endif
