/* complete.c: what may stand for the last word of a command line, for the scripts of completion.c:
 * one candidate a line, a tab, a few words about it; ":files" asks for names of files. Verbs,
 * options and their values come from the tables, names from gantryd within a short time. It never
 * says why something is missing: a prompt is no place for that. */
#include "base/mem.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/contexts.h"
#include <string.h>

#define TIME_LIMIT_MS 450
#define MAX_NAME 1000

struct completion {
    struct cli *c;
    const char *word;   /* the one to complete */
    const char *prefix; /* what stands before a value in the same word: "--output=" */
    size_t n_prefix;
    int value_of;      /* the option whose value the word is, or -1 */
    bool options_over; /* after "--" */
};

static void offer(struct completion *k, struct slice text, const char *help)
{
    struct buf *out = &k->c->out;
    size_t n = strlen(k->word);
    if (text.len < n || memcmp(text.p, k->word, n) != 0)
        return;
    buf_add(out, k->prefix, k->n_prefix);
    buf_add(out, text.p, text.len);
    buf_addc(out, '\t');
    buf_adds(out, help);
    buf_addc(out, '\n');
}

/* Names come from containers: what could end a line or steer a terminal is not offered. */
static void offer_name(struct completion *k, const char *name, const char *help)
{
    if (name == NULL || *name == '\0' || *name == ':' || *name == '-' || strlen(name) > MAX_NAME ||
        !utf8_valid(name, strlen(name)))
        return;
    for (const unsigned char *p = (const unsigned char *)name; *p != '\0'; p++)
        if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))
            return;
    for (size_t i = 0; i < k->c->args.n_words; i++)
        if (strcmp(k->c->args.words[i], name) == 0)
            return; /* given already */
    offer(k, slice_of(name), help);
}

static void offer_list(struct completion *k, const char *list)
{
    struct slice rest = slice_of(list), part;
    while (slice_split(&rest, ' ', &part))
        offer(k, part, "");
}

static json_t *ask(struct completion *k, const char *pattern, const char *const *words)
{
    struct cli *c = k->c;
    json_t *doc = NULL;
    _cleanup_(buf_done) struct buf path = BUF_INIT(8192);
    if (c->host.text == NULL && cli_target(c) != EXIT_DONE)
        return NULL;
    if (cli_path(c, &path, pattern, words) != EXIT_DONE)
        return NULL;
    struct cli_call call = {.method = HTTP_METHOD_GET, .path = path.data};
    return cli_call_parsed(c, &call, &doc) == EXIT_DONE ? doc : NULL;
}

static void offer_rows(struct completion *k, json_t *doc, const char *list, const char *name,
                       const char *help)
{
    const json_t *rows = json_object_get(doc, list);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *text = json_get_str(row, help);
        bool clean = text != NULL && strpbrk(text, "\t\r\n\033") == NULL;
        offer_name(k, json_get_str(row, name), clean ? text : "");
    }
    json_decref(doc);
}

static void offer_contexts(struct completion *k)
{
    struct contexts all;
    struct err e;
    if (contexts_load(&all, &e) != 0)
        return;
    const struct context *x = all.list.items;
    for (size_t i = 0; i < all.list.count; i++)
        offer(k, slice_of(x[i].name), x[i].host);
    contexts_done(&all);
}

static void offer_verbs(struct completion *k, const char *group)
{
    for (size_t i = 0; i < cli_n_verbs; i++) {
        const struct verb *v = &cli_verbs[i];
        if (group != NULL ? v->group != NULL && strcmp(v->group, group) == 0 : v->group == NULL)
            offer(k, slice_of(v->name), v->help);
        bool again = false;
        for (size_t before = 0; before < i && v->group != NULL; before++)
            again = again || (cli_verbs[before].group != NULL &&
                              strcmp(v->group, cli_verbs[before].group) == 0);
        if (group == NULL && v->group != NULL && !again &&
            args_find(cli_verbs, cli_n_verbs, v->group, NULL) == NULL)
            offer(k, slice_of(v->group), "");
    }
}

static void offer_options(struct completion *k, const struct verb *v)
{
    _cleanup_(buf_done) struct buf b = BUF_INIT(128);
    for (int id = 0; id < OPTION_COUNT; id++) {
        const struct option_row *o = &option_rows[id];
        if (!o->general && (v == NULL || (v->options & OPTION_BIT(id)) == 0))
            continue;
        buf_clear(&b);
        if (buf_addf(&b, "--%s", o->name) == 0)
            offer(k, (struct slice){b.data, b.len}, o->help);
    }
}

/* "CONTAINER SERVICE..." and 3 give "SERVICE": the word of the help that stands for argument n. */
static struct slice argument_kind(struct slice rest, size_t n)
{
    struct slice part = {NULL, 0};
    size_t i = 0;
    while (slice_split(&rest, ' ', &part)) {
        while (part.len > 0 && strchr("[]", part.p[part.len - 1]) != NULL)
            part.len--;
        bool repeated = part.len > 3 && memcmp(part.p + part.len - 3, "...", 3) == 0;
        part.len -= repeated ? 3 : 0;
        while (part.len > 0 && part.p[0] == '[')
            part = (struct slice){part.p + 1, part.len - 1};
        if (i++ == n || repeated)
            return part;
    }
    return (struct slice){NULL, 0};
}

/* Services of the Compose project that the words have named. */
static void offer_parts(struct completion *k)
{
    const struct args *a = &k->c->args;
    if (a->n_words > 0)
        offer_rows(k, ask(k, "/v1/workloads/%s/parts", a->words), "parts", "name", "state");
}

static void offer_argument_kind(struct completion *k, const struct verb *v, struct slice kind)
{
    const struct args *a = &k->c->args;
    bool docker = v->group != NULL && strcmp(v->group, "docker") == 0;
    if ((docker && slice_eqs(kind, "NAME")) || slice_eqs(kind, "DOCKER-CONTAINER"))
        offer_rows(k, ask(k, "/docker/containers?all=true", NULL), "containers", "name", "status");
    else if (slice_eqs(kind, "ID"))
        offer_rows(k, ask(k, "/v1/workloads?limit=1000", NULL), "workloads", "id", "actual_state");
    else if (slice_eqs(kind, "node"))
        offer(k, kind, "this machine");
    else if (slice_eqs(kind, "CONTAINER"))
        offer_rows(k, ask(k, "/containers", NULL), "containers", "name", "socket_path");
    else if (slice_eqs(kind, "SERVICE") && v->group != NULL && strcmp(v->group, "compose") == 0)
        offer_parts(k);
    else if (slice_eqs(kind, "SERVICE") && a->n_words > 0)
        offer_rows(k, ask(k, "/containers/%s/services", a->words), "services", "id", "label");
    else if (slice_eqs(kind, "PROFILE") && a->n_words > 0)
        offer_rows(k, ask(k, "/containers/%s/profiles", a->words), "profiles", "name", "state");
    else if (slice_eqs(kind, "TOKEN"))
        offer_rows(k, ask(k, "/tokens", NULL), "tokens", "name", "created_by");
    else if (slice_eqs(kind, "VOLUME"))
        offer_rows(k, ask(k, "/v1/volumes", NULL), "volumes", "id", "state");
    else if (slice_eqs(kind, "CONTEXT"))
        offer_contexts(k);
    else if (slice_eqs(kind, "METHOD"))
        offer_list(k, "GET HEAD POST PUT PATCH DELETE OPTIONS");
    else if (slice_eqs(kind, "SHELL"))
        offer_list(k, "bash zsh fish");
    else if (v->run == cmd_help && a->n_words < 2)
        offer_verbs(k, a->n_words > 0 ? a->words[0] : NULL);
    else if (slice_eqs(kind, "FILE"))
        buf_addlit(&k->c->out, ":files\n");
}

/* "ID | CONTAINER SERVICE": each form of the arguments has a say. */
static void offer_argument(struct completion *k, const struct verb *v)
{
    struct slice rest = slice_of(v->args), form;
    while (slice_split(&rest, '|', &form))
        offer_argument_kind(k, v, argument_kind(slice_trim(form), k->c->args.n_words));
}

static void offer_value(struct completion *k)
{
    const struct option_row *o = &option_rows[k->value_of];
    if (o->choices != NULL)
        offer_list(k, o->choices);
    else if (k->value_of == OPTION_SERVICE)
        offer_parts(k);
    else if (k->value_of == OPTION_CONTEXT)
        offer_contexts(k);
    else if (o->value != NULL && strcmp(o->value, "FILE") == 0)
        buf_addlit(&k->c->out, ":files\n");
}

/* The verb that the words so far make, or NULL. */
static const struct verb *verb_of(const struct args *a)
{
    const struct verb *v = NULL;
    if (a->n_words > 1)
        v = args_find(cli_verbs, cli_n_verbs, a->all[0], a->all[1]);
    if (v == NULL && a->n_words > 0)
        v = args_find(cli_verbs, cli_n_verbs, a->all[0], NULL);
    return v;
}

/* One word before the last. Returns the option that waits for its value, or -1. */
static int take_word(struct completion *k, const char *word, int waiting)
{
    struct args *a = &k->c->args;
    if (waiting >= 0) {
        a->value[waiting] = word;
        a->given |= OPTION_BIT(waiting);
        return -1;
    }
    if (k->options_over || word[0] != '-' || word[1] == '\0') {
        a->all[a->n_words++] = word;
        return -1;
    }
    if (strcmp(word, "--") == 0) {
        k->options_over = true;
        return -1;
    }
    const char *eq = strchr(word, '=');
    int id;
    if (word[1] == '-') {
        size_t len = eq != NULL ? (size_t)(eq - word) : strlen(word);
        id = args_option_named((struct slice){word + 2, len - 2});
    } else {
        /* -fn: the last may take one. Letters may mean something else for this verb. */
        const struct verb *v = verb_of(a);
        id = args_option_lettered(v, word[strlen(word) - 1]);
        eq = NULL;
    }
    if (id >= 0 && eq != NULL) {
        a->value[id] = eq + 1;
        a->given |= OPTION_BIT(id);
    }
    return id >= 0 && eq == NULL && option_rows[id].value != NULL && !option_rows[id].bare ? id
                                                                                           : -1;
}

static const struct verb *find_verb(struct args *a)
{
    const struct verb *v = NULL;
    a->words = a->all;
    if (a->n_words > 1 && args_is_group(cli_verbs, cli_n_verbs, a->all[0]))
        v = args_find(cli_verbs, cli_n_verbs, a->all[0], a->all[1]);
    size_t used = v != NULL ? 2 : 1;
    if (v == NULL && a->n_words > 0)
        v = args_find(cli_verbs, cli_n_verbs, a->all[0], NULL);
    if (v != NULL) {
        a->words += used;
        a->n_words -= used;
    }
    return v;
}

static void offer_word(struct completion *k)
{
    struct args *a = &k->c->args;
    const struct verb *v = find_verb(a);
    const char *eq = strchr(k->word, '=');
    if (k->value_of < 0 && !k->options_over && k->word[0] == '-') {
        if (k->word[1] == '-' && eq != NULL)
            k->value_of =
                args_option_named((struct slice){k->word + 2, (size_t)(eq - k->word - 2)});
        if (k->value_of < 0) {
            offer_options(k, v);
            return;
        }
        k->prefix = k->word;
        k->n_prefix = (size_t)(eq + 1 - k->word);
        k->word = eq + 1;
    }
    bool group = v == NULL && a->n_words == 1 && args_is_group(cli_verbs, cli_n_verbs, a->words[0]);
    bool both = v != NULL && a->n_words == 0 && v->group == NULL &&
                args_is_group(cli_verbs, cli_n_verbs, v->name);
    if (k->value_of >= 0)
        offer_value(k);
    else if (group || both)
        offer_verbs(k, group ? a->words[0] : v->name);
    else if (v == NULL && a->n_words == 0)
        offer_verbs(k, NULL);
    if (k->value_of < 0 && v != NULL)
        offer_argument(k, v);
}

int cli_complete(struct cli *c, int argc, char **argv)
{
    struct completion k = {
        .c = c, .word = argc > 0 ? argv[argc - 1] : "", .prefix = "", .value_of = -1};
    c->quiet = true;
    c->timeout_ms = TIME_LIMIT_MS;
    c->args.all = mem_calloc((size_t)argc + 1, sizeof *c->args.all);
    if (c->args.all == NULL)
        return EXIT_DONE;
    for (int i = 0; i < argc - 1; i++)
        k.value_of = take_word(&k, argv[i], k.value_of);
    offer_word(&k);
    return EXIT_DONE;
}
