#include "core/compose_text.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>
#include <yaml.h>

enum { BYTES_OF_A_NODE = 64 };

/* An open mapping or sequence. */
struct frame {
    size_t nodes; /* it and what is in it */
    char *anchor; /* owned; NULL: none */
    bool is_mapping, value_next;
    bool is_services; /* the mapping of the services */
    bool at_services; /* of the top: its next value is that of "services" */
};

struct walk {
    struct frame stack[COMPOSE_DEPTH_MAX];
    size_t depth;
    struct map anchors; /* to the nodes that they stand for */
    size_t documents;
    bool has_services;
    struct err *e;
};

static int fault(struct walk *w, yaml_mark_t at, const char *what)
{
    return err_set(w->e, ERR_INVALID, "line %zu, column %zu of the Compose file: %s", at.line + 1,
                   at.column + 1, what);
}

static int no_memory(struct err *e)
{
    return err_set(e, ERR_NO_MEMORY, "out of memory while reading a Compose file");
}

static int parser_fault(const yaml_parser_t *p, struct err *e)
{
    if (p->error == YAML_MEMORY_ERROR)
        return no_memory(e);
    const char *problem = p->problem != NULL ? p->problem : "it is not YAML";
    if (p->error == YAML_READER_ERROR)
        return err_set(e, ERR_INVALID, "byte %zu of the Compose file: %s", p->problem_offset,
                       problem);
    return err_set(e, ERR_INVALID, "line %zu, column %zu of the Compose file: %s",
                   p->problem_mark.line + 1, p->problem_mark.column + 1, problem);
}

/* A node of this weight is complete. */
static int add_nodes(struct walk *w, size_t nodes, yaml_mark_t at)
{
    struct frame *f = w->depth > 0 ? &w->stack[w->depth - 1] : NULL;
    size_t total = nodes + (f != NULL ? f->nodes : 0);
    if (total > COMPOSE_NODES_MAX)
        return fault(w, at, "it is too much with its aliases written out");
    if (f == NULL)
        return 0;
    f->nodes = total;
    f->at_services = f->at_services && f->is_mapping && !f->value_next;
    if (f->is_mapping)
        f->value_next = !f->value_next;
    return 0;
}

static int note_anchor(struct walk *w, const char *anchor, size_t nodes)
{
    if (anchor == NULL)
        return 0;
    (void)map_take(&w->anchors, slice_of(anchor)); /* a later one of the same name counts */
    return map_put(&w->anchors, slice_of(anchor), (void *)(uintptr_t)nodes) == 0 ? 0
                                                                                 : no_memory(w->e);
}

static int on_scalar(struct walk *w, const yaml_event_t *ev)
{
    struct slice text = {(const char *)ev->data.scalar.value, ev->data.scalar.length};
    size_t nodes = 1 + text.len / BYTES_OF_A_NODE;
    struct frame *f = w->depth == 1 ? &w->stack[0] : NULL;
    if (w->depth == 0)
        return fault(w, ev->start_mark, "a mapping with the key \"services\" is wanted");
    bool services = f != NULL && f->is_mapping && !f->value_next && slice_eqs(text, "services");
    if (services && w->has_services)
        return fault(w, ev->start_mark, "the key \"services\" is there twice");
    if (f != NULL && f->value_next && f->at_services)
        return fault(w, ev->start_mark, "services: a mapping of services is wanted");
    if (memchr(text.p, '\0', text.len) != NULL)
        return fault(w, ev->start_mark, "the text contains a NUL character");
    int r = note_anchor(w, (const char *)ev->data.scalar.anchor, nodes);
    if (r == 0)
        r = add_nodes(w, nodes, ev->start_mark);
    if (r == 0 && services)
        f->at_services = w->has_services = true;
    return r;
}

static int on_alias(struct walk *w, const yaml_event_t *ev)
{
    const char *name = (const char *)ev->data.alias.anchor;
    size_t nodes = (size_t)(uintptr_t)map_get(&w->anchors, slice_of(name));
    if (nodes == 0)
        return fault(w, ev->start_mark, "this alias stands for nothing that is complete before it");
    if (w->depth == 1 && w->stack[0].value_next && w->stack[0].at_services)
        return fault(w, ev->start_mark, "services: a mapping of services is wanted");
    return add_nodes(w, nodes, ev->start_mark);
}

static int on_open(struct walk *w, const yaml_event_t *ev)
{
    bool mapping = ev->type == YAML_MAPPING_START_EVENT;
    const yaml_char_t *anchor =
        mapping ? ev->data.mapping_start.anchor : ev->data.sequence_start.anchor;
    bool services = w->depth == 1 && w->stack[0].value_next && w->stack[0].at_services;
    if (w->depth == 0 && !mapping)
        return fault(w, ev->start_mark, "a mapping with the key \"services\" is wanted");
    if (services && !mapping)
        return fault(w, ev->start_mark, "services: a mapping of services is wanted");
    if (w->depth == COMPOSE_DEPTH_MAX)
        return fault(w, ev->start_mark, "it is nested too deep");
    struct frame *f = &w->stack[w->depth];
    *f = (struct frame){.nodes = 1, .is_mapping = mapping, .is_services = services};
    if (anchor != NULL) {
        /* Inside of itself it stands for nothing. */
        (void)map_take(&w->anchors, slice_of((const char *)anchor));
        f->anchor = mem_strdup((const char *)anchor);
        if (f->anchor == NULL)
            return no_memory(w->e);
    }
    w->depth++;
    return 0;
}

static int on_close(struct walk *w, const yaml_event_t *ev)
{
    struct frame *f = &w->stack[--w->depth];
    int r = 0;
    if (f->is_services && f->nodes == 1)
        r = fault(w, ev->start_mark, "services: there is none");
    if (r == 0)
        r = note_anchor(w, f->anchor, f->nodes);
    if (r == 0)
        r = add_nodes(w, f->nodes, ev->start_mark);
    mem_free(f->anchor);
    f->anchor = NULL;
    return r;
}

static int on_event(struct walk *w, const yaml_event_t *ev)
{
    switch (ev->type) {
    case YAML_DOCUMENT_START_EVENT:
        return w->documents++ == 0 ? 0 : fault(w, ev->start_mark, "a second document begins");
    case YAML_SCALAR_EVENT:
        return on_scalar(w, ev);
    case YAML_ALIAS_EVENT:
        return on_alias(w, ev);
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        return on_open(w, ev);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        return on_close(w, ev);
    default:
        return 0;
    }
}

static int walk_events(struct walk *w, struct slice text)
{
    yaml_parser_t parser;
    yaml_event_t ev;
    bool end = false;
    int r = 0;
    if (!yaml_parser_initialize(&parser))
        return no_memory(w->e);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.len);
    while (r == 0 && !end) {
        if (!yaml_parser_parse(&parser, &ev)) {
            r = parser_fault(&parser, w->e);
            break;
        }
        r = on_event(w, &ev);
        end = ev.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&ev);
    }
    yaml_parser_delete(&parser);
    return r;
}

int compose_text_check(struct slice text, struct err *e)
{
    struct walk w = {.e = e};
    if (text.len > COMPOSE_TEXT_MAX)
        return err_set(e, ERR_LIMIT, "the Compose file has %zu bytes, more than %u", text.len,
                       COMPOSE_TEXT_MAX);
    if (slice_trim(text).len == 0)
        return err_set(e, ERR_INVALID, "the Compose file is empty");
    map_init(&w.anchors);
    int r = walk_events(&w, text);
    if (r == 0 && !w.has_services)
        r = err_set(e, ERR_INVALID, "the Compose file has no \"services\"");
    while (w.depth > 0)
        mem_free(w.stack[--w.depth].anchor);
    map_done(&w.anchors, NULL);
    return r;
}
