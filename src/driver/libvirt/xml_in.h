/* xml_in.h: reads XML as libvirt writes it, one piece after the other (XML 1.0, namespaces as
 * plain prefixes). Bounded, without recursion and without allocation of its own beyond one buffer:
 * no document types, no entities but the five and characters by number, depth at most XML_DEPTH.
 */
#ifndef GANTRY_DRIVER_LIBVIRT_XML_IN_H
#define GANTRY_DRIVER_LIBVIRT_XML_IN_H

#include "base/buf.h"
#include "base/err.h"

#define XML_DEPTH 32
#define XML_ATTRIBUTES 32

enum xml_piece {
    XML_END,   /* of the text: all is well */
    XML_OPEN,  /* an element begins; <a/> gives XML_OPEN and XML_CLOSE */
    XML_TEXT,  /* characters between elements, with entities resolved, or unparsed text; maybe in
                * several pieces */
    XML_CLOSE, /* an element ends */
};
struct xml_attribute {
    struct slice name;
    size_t at, len; /* of the value, in `values` */
};
struct xml_in {
    const char *begin, *p, *end;
    struct slice stack[XML_DEPTH]; /* names of the open elements */
    size_t depth;
    bool closing, rooted;
    struct slice name; /* of XML_OPEN and XML_CLOSE; borrowed from the text */
    struct slice text; /* of XML_TEXT; until the next call */
    struct xml_attribute attributes[XML_ATTRIBUTES]; /* of XML_OPEN */
    size_t n_attributes;
    struct buf values;
};

void xml_in_init(struct xml_in *x, struct slice text);
void xml_in_done(struct xml_in *x);
/* The next piece, or ERR_SYNTAX (with the line), ERR_LIMIT, ERR_NO_MEMORY. */
int xml_in_next(struct xml_in *x, struct err *e);
/* Value of an attribute of the element that has just begun; p NULL: there is none. Until the next
 * call. */
struct slice xml_in_attribute(const struct xml_in *x, const char *name);
/* True if the open elements are exactly these: "domain/devices/disk". */
bool xml_in_at(const struct xml_in *x, const char *path);

/* Appends text for an attribute or for between elements. ERR_INVALID: XML cannot hold it (control
 * characters, bytes that are not UTF-8, U+FFFE, U+FFFF); nothing is appended then. */
int xml_add_text(struct buf *out, struct slice text);

#endif
