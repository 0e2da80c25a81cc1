/* events.c: what has happened; or (-f) how everything is, and then one line a change. */
#include "base/str.h"
#include "gantry/follow.h"
#include "gantry/text.h"
#include "gantry/workload.h"
#include <string.h>

struct events {
    struct cli *c;
    bool lived;  /* a snapshot was told before */
    bool missed; /* so was it that this is another one */
};

static void add_time(struct cli *c, const char *time)
{
    if (strlen(time) >= 19 && time[10] == 'T' && !c->wide)
        buf_addf(&c->out, "%.10s %.8s", time, time + 11);
    else
        text_clean(&c->out, slice_of(*time != '\0' ? time : "-"));
}

static void add_word(struct cli *c, const char *before, const char *word)
{
    if (*word == '\0')
        return;
    buf_adds(&c->out, before);
    text_clean(&c->out, slice_of(word));
}

/* "2026-11-21 03:52:00  workload  web  state: pending -> running (crash) by uid:0: text" */
static void print_event(struct cli *c, const json_t *ev)
{
    const char *from = workload_text(ev, "from"), *to = workload_text(ev, "to");
    add_time(c, workload_text(ev, "time"));
    add_word(c, "  ", workload_text(ev, "kind"));
    add_word(c, "  ", workload_text(ev, "name"));
    add_word(c, "  ", workload_text(ev, "type"));
    if (*from != '\0' || *to != '\0') {
        add_word(c, " ", *from != '\0' ? from : "-");
        add_word(c, " -> ", *to != '\0' ? to : "-");
    }
    add_word(c, ", ", workload_text(ev, "reason"));
    add_word(c, ", by ", workload_text(ev, "who"));
    if (c->wide)
        add_word(c, ", revision ", workload_text(ev, "revision"));
    add_word(c, ": ", workload_text(ev, "message"));
    buf_addc(&c->out, '\n');
}

static void print_state(struct cli *c, const json_t *w)
{
    add_time(c, workload_text(w, "changed_at"));
    add_word(c, "  workload  ", workload_text(w, "id"));
    add_word(c, "  is ", workload_text(w, "actual_state"));
    add_word(c, ", should be ", workload_text(w, "desired_state"));
    add_word(c, ": ", workload_text(w, "message"));
    buf_addc(&c->out, '\n');
}

static void on_snapshot(struct events *s, const json_t *doc, struct slice data)
{
    const json_t *list = json_object_get(doc, "workloads");
    if (s->lived && !s->missed)
        cli_fail(s->c, 0, NULL, "some events were missed; this is how everything is now");
    s->missed = s->lived;
    if (s->c->args.value[OPTION_TYPE] != NULL)
        return;
    if (s->c->json) {
        cli_json(s->c, data);
        return;
    }
    for (size_t i = 0; i < json_array_size(list); i++)
        print_state(s->c, json_array_get(list, i));
}

static void on_event(void *ctx, struct follow *f, struct slice id, struct slice event,
                     const json_t *doc, struct slice data)
{
    struct events *s = ctx;
    struct cli *c = s->c;
    if (slice_eqs(event, "snapshot")) {
        on_snapshot(s, doc, data);
    } else if (slice_eqs(event, "live")) {
        follow_set_cursor(f, id);
        s->lived = true;
        s->missed = false;
    } else if (slice_eqs(event, "cut")) {
        const char *reason = json_get_str(doc, "reason");
        follow_tell(f, reason != NULL ? slice_of(reason) : data);
        follow_set_cursor(f, (struct slice){NULL, 0});
    } else if (doc != NULL) {
        follow_set_cursor(f, id);
        follow_well(f);
        if (c->json)
            cli_json(c, data);
        else
            print_event(c, doc);
    }
    follow_flush(f);
}

static int add_query(struct buf *out, const char **mark, const char *key, struct slice value)
{
    if (value.len == 0)
        return out->err;
    buf_addf(out, "%s%s=", *mark, key);
    *mark = "&";
    return pct_encode(out, value);
}

static const char *add_path(const struct cli *c, struct buf *out)
{
    const char *const *value = c->args.value, *mark = "?";
    buf_addlit(out, "/v1/events");
    add_query(out, &mark, "kind", slice_of(value[OPTION_KIND]));
    add_query(out, &mark, "name", slice_of(value[OPTION_NAME]));
    add_query(out, &mark, "type", slice_of(value[OPTION_TYPE]));
    return mark;
}

static int make_path(void *ctx, const struct follow *f, struct buf *out)
{
    const struct events *s = ctx;
    const char *mark = add_path(s->c, out);
    return add_query(out, &mark, "after", follow_cursor(f));
}

/* Those that are kept. */
static int print_kept(struct cli *c)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(16384);
    _cleanup_(json_decrefp) json_t *doc = NULL;
    const char *mark = add_path(c, &path);
    if (add_query(&path, &mark, "follow", SLICE_LIT("false")) != 0)
        return cli_fail(c, EXIT_USAGE, NULL, "--name or --type is too long");
    int rc =
        cli_call_json(c, &(struct cli_call){.method = HTTP_METHOD_GET, .path = path.data}, &doc);
    const json_t *list = json_object_get(doc, "events");
    for (size_t i = 0; i < json_array_size(list); i++)
        print_event(c, json_array_get(list, i));
    return rc;
}

int cmd_events(struct cli *c)
{
    static const struct follow_user user = {make_path, on_event, "events"};
    struct events s = {.c = c};
    return args_has(&c->args, OPTION_FOLLOW) ? follow_run(c, &user, &s) : print_kept(c);
}
