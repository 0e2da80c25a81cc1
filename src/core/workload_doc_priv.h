/* workload_doc_priv.h: what the files of the workload document share. */
#ifndef GANTRY_CORE_WORKLOAD_DOC_PRIV_H
#define GANTRY_CORE_WORKLOAD_DOC_PRIV_H

#include "core/workload_doc.h"

#define AT(type, member) offsetof(struct type, member)
#define ROWS(rows) .fields = (rows), .n_fields = ARRAY_LEN(rows)

/* Parts of the document's rows: all but id, revision_id and desired_state; and these without
 * type. */
extern const struct schema workload_doc_print_schema, workload_doc_stored_schema;

/* workload_doc_compose.c, workload_doc_vm.c, workload_doc_volume.c */
extern const struct schema doc_compose_schema, doc_vm_schema, doc_volume_schema;

/* ---- checks of rows: `member` is its place; ERR_INVALID with the bad value in quotes */

/* Says that this text breaks a rule: "\"TEXT\" RULE", the text printable and cut. */
int doc_bad(struct err *e, const char *text, const char *rule);
bool doc_has_control(const char *text);
int doc_check_word(const void *member, struct err *e);     /* no blanks */
int doc_check_hostname(const void *member, struct err *e); /* letters, digits, - _ . */
int doc_check_path(const void *member, struct err *e);     /* absolute, without ".." */
int doc_check_env(const void *member, struct err *e);      /* names of variables, each once */
int doc_check_labels(const void *member, struct err *e);
/* No name is in both. */
int doc_check_env_once(const struct schema_list *env, const struct schema_list *secret_env,
                       struct err *e);
/* The list of managed volumes: no volume twice, no place twice. */
int doc_check_managed_volumes(const void *member, struct err *e);

/* Texts that may be in base64: *ret is what it holds, owned; NULL: the text is as it is.
 * ERR_INVALID: it holds no text; ERR_NO_MEMORY. */
int doc_decode_compose(const char *text, char **ret, struct err *e);
int doc_decode_cloud(const char *text, char **ret, struct err *e);
/* All of cloud-init together has at most DOC_CLOUD_INIT_MAX bytes. ERR_INVALID, ERR_NO_MEMORY. */
int doc_check_cloud_init(const struct doc_vm *v, struct err *e);

#endif
