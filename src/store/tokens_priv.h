/* tokens_priv.h: what the two files of the token store share. */
#ifndef GANTRY_STORE_TOKENS_PRIV_H
#define GANTRY_STORE_TOKENS_PRIV_H

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "store/tokens.h"

#define TOKEN_HASH_SIZE 32
#define TOKEN_KEY_SIZE 16 /* so much of the hash finds the entry; all of it is then compared */
#define TOKEN_KNOWN_PEERS 4
#define TOKENS_FILE_MAX (8u * 1024u * 1024u)
#define TOKENS_WAITING_MAX 64

/* MAKING: not on disk yet, so not valid yet. REVOKED: not valid any more, but maybe still on disk.
 */
enum token_state { TOKEN_MAKING, TOKEN_VALID, TOKEN_REVOKED };

struct token {
    struct list_node link; /* in order of creation */
    enum token_state state;
    bool busy;            /* a change of it waits, or is being written */
    struct identity *who; /* one reference; its name is "token:NAME" */
    char *name, *created_by;
    char *words[RIGHTS_MAX];
    size_t n_words;
    char id[9];
    uint8_t hash[TOKEN_HASH_SIZE];
    int64_t created_ns, expires_ns, last_used_ns;
    uint64_t known[TOKEN_KNOWN_PEERS]; /* newest first; 0: none */
};

struct write_job;
#define TOKENS_MAGIC 0x544f4b4eu
struct tokens {
    uint32_t magic;
    struct loop *loop;
    const struct clock *clock;
    char *path;
    struct list_node order;
    struct map by_name, by_key;
    size_t count;
    struct list_node waiting; /* struct change, the first one is being written */
    size_t n_waiting;
    struct write_job *job; /* NULL: nothing is being written */
};

/* Puts a new token into lists and maps. `words` and `created_by` are copied. ERR_INVALID (name,
 * right), ERR_EXISTS, ERR_LIMIT, ERR_NO_MEMORY. */
int token_add(struct tokens *t, const struct token_spec *spec, const uint8_t hash[TOKEN_HASH_SIZE],
              struct token **ret, struct err *e);
void token_remove(struct tokens *t, struct token *k);
void token_set_times(struct token *k, int64_t created_ns, int64_t expires_ns);

/* tokens_file.c */
int tokens_read(struct tokens *t, struct err *e);
/* All valid tokens, `with` if it is being made. The buffer's error. */
int tokens_format(struct tokens *t, const struct token *with, struct buf *out);

#endif
