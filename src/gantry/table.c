#include "gantry/table.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "gantry/text.h"

#define TABLE_MAX ((size_t)64 << 20)
#define GAP 2

static const char *const colour_on[] = {
    [TABLE_PLAIN] = "",          [TABLE_GREEN] = "\033[32m", [TABLE_RED] = "\033[31m",
    [TABLE_YELLOW] = "\033[33m", [TABLE_DIM] = "\033[2m",
};

void table_init(struct table *t, const char *const *heads, size_t columns)
{
    t->columns = columns;
    buf_init(&t->text, TABLE_MAX);
    buf_init(&t->cells, TABLE_MAX);
    for (size_t i = 0; i < columns; i++)
        table_cell(t, slice_of(heads[i]), TABLE_DIM);
}

void table_done(struct table *t)
{
    buf_done(&t->text);
    buf_done(&t->cells);
}

void table_cell(struct table *t, struct slice text, enum table_colour colour)
{
    struct table_cell c = {.start = t->text.len, .colour = colour};
    if (text.len == 0)
        buf_addlit(&t->text, "-");
    else
        text_clean(&t->text, text);
    c.len = t->text.len - c.start;
    buf_add(&t->cells, &c, sizeof c);
}

void table_cells(struct table *t, const char *text)
{
    table_cell(t, slice_of(text), TABLE_PLAIN);
}

static struct table_cell cell_at(const struct table *t, size_t i)
{
    struct table_cell c;
    memcpy(&c, t->cells.data + i * sizeof c, sizeof c);
    return c;
}

static struct slice cell_text(const struct table *t, size_t i)
{
    struct table_cell c = cell_at(t, i);
    return (struct slice){t->text.data + c.start, c.len};
}

static void add_blanks(struct buf *out, size_t n)
{
    while (n-- > 0)
        buf_addc(out, ' ');
}

static void print_cell(const struct table *t, size_t i, size_t width, bool colour, struct buf *out)
{
    struct slice text = cell_text(t, i);
    const char *on = colour ? colour_on[cell_at(t, i).colour] : "";
    buf_adds(out, on);
    buf_add(out, text.p, text.len);
    if (*on != '\0')
        buf_addlit(out, "\033[0m");
    if ((i + 1) % t->columns == 0)
        buf_addc(out, '\n');
    else
        add_blanks(out, width + GAP - text_width(text));
}

int table_print(const struct table *t, bool colour, bool heads, struct buf *out)
{
    if (t->text.err != 0 || t->cells.err != 0)
        return t->text.err != 0 ? t->text.err : t->cells.err;
    size_t n = t->cells.len / sizeof(struct table_cell), first = heads ? 0 : t->columns;
    _cleanup_(mem_freep) size_t *width = mem_calloc(t->columns, sizeof *width);
    if (width == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = first; i < n; i++) {
        size_t w = text_width(cell_text(t, i));
        if (w > width[i % t->columns])
            width[i % t->columns] = w;
    }
    for (size_t i = first; i < n; i++)
        print_cell(t, i, width[i % t->columns], colour, out);
    return out->err;
}
