/* table.h: aligned columns for people. Cells are copied and cleaned of control characters. */
#ifndef GANTRY_CLI_TABLE_H
#define GANTRY_CLI_TABLE_H

#include "base/base.h"
#include "base/buf.h"

enum table_colour { TABLE_PLAIN, TABLE_GREEN, TABLE_RED, TABLE_YELLOW, TABLE_DIM };

struct table_cell {
    size_t start, len; /* in text */
    enum table_colour colour;
};

struct table {
    size_t columns;
    struct buf text;  /* all cells, one after the other */
    struct buf cells; /* of struct table_cell, row by row, the heads first */
};

/* heads: one per column, borrowed for the call. Failures stick; table_print tells. */
void table_init(struct table *t, const char *const *heads, size_t columns);
void table_done(struct table *t);
/* The next cell, left to right, row by row. Empty text is shown as "-". */
void table_cell(struct table *t, struct slice text, enum table_colour colour);
void table_cells(struct table *t, const char *text); /* plain; NULL shows "-" */
/* Appends the table, without its first line if not `heads`. ERR_LIMIT or ERR_NO_MEMORY. The last
 * column is not padded. */
int table_print(const struct table *t, bool colour, bool heads, struct buf *out);

#endif
