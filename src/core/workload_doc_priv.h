/* workload_doc_priv.h: what the files of the workload document share. */
#ifndef GANTRY_CORE_WORKLOAD_DOC_PRIV_H
#define GANTRY_CORE_WORKLOAD_DOC_PRIV_H

#include "core/workload_doc.h"

/* Parts of the document's rows: all but id, revision_id and desired_state; and these without
 * type. */
extern const struct schema workload_doc_print_schema, workload_doc_stored_schema;

#endif
