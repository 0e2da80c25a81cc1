/* text.h: words for people: durations, widths of text in terminal columns, and text from elsewhere
 * made harmless for a terminal.
 *
 * Names, labels, states and logs come from containers, which are not trusted: a terminal would obey
 * the escape sequences in them (set the title, answer back into the input, hide text).
 */
#ifndef GANTRY_CLI_TEXT_H
#define GANTRY_CLI_TEXT_H

#include "base/base.h"
#include "base/buf.h"

/* Chooses UTF-8 for text_width. Call once at start. */
void text_init(void);

/* The code point of a character of n bytes that utf8_char found to be valid. */
uint32_t text_decode(const char *p, int n);

/* Marks and overrides that change the direction of the text around them (UAX 9). */
bool text_changes_direction(uint32_t c);

/* Columns that UTF-8 text takes on a terminal; wide characters 2, combining ones 0. */
size_t text_width(struct slice s);

/* "0s" "59s" "3m12s" "2h05m" "3d04h"; negative gives "-". */
int text_duration(struct buf *out, int64_t seconds);

/* Appends text for one line or one table cell: line ends and tabs become blanks, every other
 * control character and every change of writing direction is made visible ("^[", "\u009b"). */
int text_clean(struct buf *out, struct slice s);

/* The same for running text (logs): newline and tab pass, CR LF becomes LF, colours (SGR) pass if
 * keep_colour, else they are dropped. A sequence may be spread over several pieces. */
struct text_filter {
    bool keep_colour;
    bool colour_on; /* a colour has been passed on and not yet reset */
    bool saw_cr;    /* a CR waits for its LF */
    size_t held;    /* bytes of an unfinished sequence in seq */
    char seq[40];   /* ESC [ parameters; longer ones are no colours */
};
void text_filter_init(struct text_filter *f, bool keep_colour);
int text_filter_feed(struct text_filter *f, struct slice s, struct buf *out);
/* What was held back, visible, and a reset if a colour is still on. */
int text_filter_end(struct text_filter *f, struct buf *out);

/* What s6-svstat says beyond up or down: "up (pid 7) 12 seconds, ready 11 seconds" gives
 * "ready 11 seconds", "down (exitcode 3) 0 seconds, want up" gives "exitcode 3, want up".
 * Borrowed parts are cleaned; an unknown form is given whole. */
int text_status_detail(struct buf *out, struct slice raw, bool is_up);

#endif
