#include "gantry/args.h"
#include "base/mem.h"
#include "base/str.h"
#include "gantry/suggest.h"

const struct option_row option_rows[OPTION_COUNT] = {
    [OPTION_HOST] = {'H', "host", "HOST", true, "gantryd: unix:/PATH or http[s]://HOST:PORT"},
    [OPTION_CONTEXT] = {0, "context", "NAME", true, "a machine of `gantry context list`"},
    [OPTION_CACERT] = {0, "cacert", "FILE", true, "whom to trust for https (PEM)"},
    [OPTION_CERT] = {0, "cert", "FILE", true, "our certificate for https (PEM)"},
    [OPTION_KEY] = {0, "key", "FILE", true, "the key of --cert (PEM)"},
    [OPTION_TOKEN_FILE] = {0, "token-file", "FILE", true, "file that holds the token to show"},
    [OPTION_OUTPUT] = {'o', "output", "FORMAT", true, "table (default), wide, json or yaml",
                       .choices = "table wide json yaml"},
    [OPTION_NO_HEADERS] = {0, "no-headers", NULL, true, "tables without their first line"},
    [OPTION_COLOUR] = {0, "colour", "WHEN", true, "auto (default), always or never",
                       .choices = "auto always never"},
    [OPTION_TIMEOUT] = {0, "timeout", "TIME", true, "for each call, and for --wait: 5s, 2m"},
    [OPTION_TRACE] = {0, "trace", NULL, true, "tell each call on standard error"},
    [OPTION_HELP] = {'h', "help", NULL, true, "this help, or that of a command"},
    [OPTION_VERSION] = {0, "version", NULL, true, "print the version"},
    [OPTION_FOLLOW] = {'f', "follow", NULL, false, "print new lines as they come, until Ctrl-C"},
    [OPTION_LINES] = {'n', "lines", "N", false, "how many of the last lines (default 100)"},
    [OPTION_CLEAR] = {0, "clear", NULL, false, "empty the log instead of printing it"},
    [OPTION_ALL] = {'a', "all", NULL, false, "also those that are not running"},
    [OPTION_TIME] = {'t', "time", "SECONDS", false, "patience before it is killed (default 10)"},
    [OPTION_SET] = {0, "set", "FILE", false, "replace it by FILE (-: standard input)"},
    [OPTION_IF_MATCH] = {0, "if-match", "ETAG", false, "only if it still has this ETag"},
    [OPTION_ETAG] = {0, "etag", NULL, false, "print the ETag instead"},
    [OPTION_WATCH] = {0, "watch", "SECONDS", false, "again and again, until Ctrl-C (2)",
                      .bare = true},
    [OPTION_WAIT] = {0, "wait", NULL, false, "until it is so, for --timeout (default 30s)"},
    [OPTION_DATA] = {'d', "data", "DATA", false, "body: text, @FILE, or - (standard input)"},
    [OPTION_HEADER] = {'H', "header", "HEADER", false, "\"Name: value\", as often as wanted"},
    [OPTION_WHO] = {0, "who", "IDENTITY", false, "only of this one, such as uid:0 or token:NAME"},
    [OPTION_SINCE] = {0, "since", "TIME", false, "only from then on: 10m (ago), 2026-11-21T03:52Z"},
    [OPTION_ENV] = {0, "env", "NAME=VALUE", false,
                    "a variable, as often as wanted; NAME: as it is here"},
    [OPTION_INCLUDE] = {'i', "include", NULL, false, "print the answer's status and headers too"},
    [OPTION_ROLE] = {0, "role", "ROLE", false, "viewer, operator or admin",
                     .choices = "viewer operator admin"},
    [OPTION_RIGHT] = {0, "right", "RIGHT", false, "'VERB KIND PATTERN', as often as wanted"},
    [OPTION_EXPIRES] = {0, "expires", "TIME", false, "12h, 30d; without it, never"},
    [OPTION_FILE] = {'f', "file", "FILE", false, "file, folder, or - (standard input); repeatable"},
    [OPTION_DRY_RUN] = {0, "dry-run", NULL, false, "change nothing, tell what would be done"},
    [OPTION_FORCE] = {0, "force", NULL, false, "no waiting for locks; replace what is there"},
    [OPTION_FOR] = {0, "for", "STATE", false, "running, stopped, healthy or deleted",
                    .choices = "running stopped healthy deleted"},
    [OPTION_INTERACTIVE] = {'i', "interactive", NULL, false, "give it our standard input"},
    [OPTION_TTY] = {'t', "tty", NULL, false, "run it on a terminal of its own"},
    [OPTION_KIND] = {0, "kind", "KIND", false, "only these: workload, service, task, node",
                     .choices = "workload service task node"},
    [OPTION_NAME] = {0, "name", "PATTERN", false, "only these names; * stands for anything"},
    [OPTION_TYPE] = {0, "type", "TYPE", false, "only this type: state, created, failed..."},
    [OPTION_APPLY] = {0, "apply", NULL, false, "apply it instead of printing it"},
    [OPTION_KEEP_GOING] = {0, "keep-going", NULL, false,
                           "go on without the flags that have no equivalent"},
    [OPTION_USER] = {'u', "user", "USER", false, "run it as this one, not as the workload"},
    [OPTION_DIR] = {0, "dir", "FOLDER", false, "where to (default /etc/persys/certs/agent)"},
    [OPTION_ID] = {0, "id", "ID", false, "its id (default: the name of its folder)"},
    [OPTION_ENV_FILE] = {0, "env-file", "FILE", false, "its variables (default: .env beside it)"},
    [OPTION_SERVICE] = {0, "service", "NAME", false, "in which service of a Compose project"},
    [OPTION_DAYS] = {0, "days", "N", false, "how long they are valid (default 365)"},
};

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

const struct verb *args_find(const struct verb *verbs, size_t n_verbs, const char *first,
                             const char *second)
{
    for (size_t i = 0; i < n_verbs; i++) {
        const struct verb *v = &verbs[i];
        if (v->group == NULL && second == NULL && same(v->name, first))
            return v;
        if (v->group != NULL && second != NULL && same(v->group, first) && same(v->name, second))
            return v;
    }
    return NULL;
}

bool args_is_group(const struct verb *verbs, size_t n_verbs, const char *word)
{
    for (size_t i = 0; i < n_verbs; i++)
        if (verbs[i].group != NULL && same(verbs[i].group, word))
            return true;
    return false;
}

void args_done(struct args *a)
{
    mem_free(a->all);
    mem_free(a->values);
    *a = (struct args){0};
}

/* The walk over argv. */
struct walk {
    int argc, at;
    char **argv;
    struct args *a;
    const struct verb *verbs;
    size_t n_verbs;
    struct err *e;
};

static int take(struct walk *w, enum option_id id, const char *shown, const char *value)
{
    const struct option_row *o = &option_rows[id];
    if (o->value != NULL && value == NULL && !o->bare) {
        if (w->at >= w->argc)
            return err_set(w->e, ERR_INVALID, "option \"%s\" needs a value (%s)", shown, o->value);
        value = w->argv[w->at++];
    }
    w->a->given |= OPTION_BIT(id);
    w->a->value[id] = value;
    w->a->values[w->a->n_values++] = (struct args_value){id, value};
    return 0;
}

int args_option_named(struct slice name)
{
    for (int id = 0; id < OPTION_COUNT; id++)
        if (slice_eqs(name, option_rows[id].name))
            return id;
    return -1;
}

int args_option_lettered(const struct verb *verb, char letter)
{
    int found = -1;
    for (int id = 0; id < OPTION_COUNT; id++) {
        if (option_rows[id].letter != letter || letter == '\0')
            continue;
        if (verb != NULL && (verb->options & OPTION_BIT(id)) != 0)
            return id;
        if (found < 0 || option_rows[id].general)
            found = id;
    }
    return found;
}

static int unknown_option(struct err *e, const char *word, struct slice name)
{
    struct suggest s;
    suggest_init(&s, name);
    for (int id = 0; id < OPTION_COUNT; id++)
        suggest_try(&s, option_rows[id].name);
    if (s.best == NULL)
        return err_set(e, ERR_INVALID, "unknown option \"%s\"", word);
    return err_set(e, ERR_INVALID, "unknown option \"%s\"; did you mean \"--%s\"?", word, s.best);
}

/* --name, --name=value, --name value */
static int long_option(struct walk *w, const char *word)
{
    const char *eq = strchr(word, '=');
    size_t len = eq == NULL ? strlen(word) : (size_t)(eq - word);
    struct slice name = {word + 2, len - 2};
    int id = args_option_named(name);
    if (id < 0)
        return unknown_option(w->e, word, name);
    if (eq != NULL && option_rows[id].value == NULL)
        return err_set(w->e, ERR_INVALID, "option \"--%s\" takes no value", option_rows[id].name);
    return take(w, (enum option_id)id, word, eq == NULL ? NULL : eq + 1);
}

/* The verb that the words so far make. */
static const struct verb *verb_so_far(const struct walk *w)
{
    const struct args *a = w->a;
    const struct verb *v = NULL;
    if (a->n_words > 1)
        v = args_find(w->verbs, w->n_verbs, a->all[0], a->all[1]);
    if (v == NULL && a->n_words > 0)
        v = args_find(w->verbs, w->n_verbs, a->all[0], NULL);
    return v;
}

/* -f, -n 5, -n5, -fn5 */
static int short_options(struct walk *w, const char *word)
{
    for (const char *p = word + 1; *p != '\0'; p++) {
        int id = args_option_lettered(verb_so_far(w), *p);
        if (id < 0)
            return err_set(w->e, ERR_INVALID, "unknown option \"%s\"", word);
        if (option_rows[id].value != NULL && !option_rows[id].bare)
            return take(w, (enum option_id)id, word, p[1] == '\0' ? NULL : p + 1);
        int rc = take(w, (enum option_id)id, word, NULL);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* True when what comes now belongs to another program's command line. */
static bool words_are_own(const struct walk *w)
{
    const struct verb *v = verb_so_far(w);
    return v != NULL && v->own > 0 && w->a->n_words >= v->own + (v->group != NULL ? 2 : 1);
}

static int collect(struct walk *w)
{
    bool options = true;
    while (w->at < w->argc) {
        const char *word = w->argv[w->at++];
        int rc = 0;
        options = options && !words_are_own(w); /* "exec web ls -l" is "exec web -- ls -l" */
        if (!options || word[0] != '-' || word[1] == '\0')
            w->a->all[w->a->n_words++] = word;
        else if (same(word, "--"))
            options = false;
        else
            rc = word[1] == '-' ? long_option(w, word) : short_options(w, word);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int unknown_verb(const struct args *a, const struct verb *verbs, size_t n, struct err *e)
{
    const char *group = a->topic, *word = group != NULL ? a->all[1] : a->all[0];
    const char *blank = group != NULL ? " " : "", *before = group != NULL ? group : "";
    struct suggest s;
    suggest_init(&s, slice_of(word));
    for (size_t i = 0; i < n; i++) {
        if (group == NULL)
            suggest_try(&s, verbs[i].group != NULL ? verbs[i].group : verbs[i].name);
        else if (verbs[i].group != NULL && same(verbs[i].group, group))
            suggest_try(&s, verbs[i].name);
    }
    if (s.best == NULL)
        return err_set(e, ERR_INVALID, "unknown command \"%s%s%s\"", before, blank, word);
    return err_set(e, ERR_INVALID, "unknown command \"%s%s%s\"; did you mean \"%s%s%s\"?", before,
                   blank, word, before, blank, s.best);
}

/* Finds the verb in the first words and takes them away. A word may be a verb by itself and also
 * the first of two. */
static int find_verb(struct args *a, const struct verb *verbs, size_t n, struct err *e)
{
    a->words = a->all;
    if (a->n_words == 0)
        return 0;
    const char *first = a->all[0];
    bool group = args_is_group(verbs, n, first);
    size_t used = 2;
    if (group && a->n_words > 1)
        a->verb = args_find(verbs, n, first, a->all[1]);
    /* "run-script get web" is the older form, for a container called "get". */
    const struct verb *plain = a->verb != NULL ? args_find(verbs, n, first, NULL) : NULL;
    if (plain != NULL && a->n_words < (size_t)a->verb->min + 2 &&
        a->n_words == (size_t)plain->min + 1)
        a->verb = NULL;
    if (a->verb == NULL && (a->verb = args_find(verbs, n, first, NULL)) != NULL)
        used = 1;
    if (a->verb == NULL) {
        a->topic = group ? first : NULL;
        if (!group || a->n_words > 1)
            return unknown_verb(a, verbs, n, e);
        return args_has(a, OPTION_HELP)
                   ? 0
                   : err_set(e, ERR_INVALID, "\"%s\" needs a second word", first);
    }
    a->words += used;
    a->n_words -= used;
    return 0;
}

static int check_choice(const struct args *a, enum option_id id, struct err *e)
{
    struct slice rest = slice_of(option_rows[id].choices), part;
    while (slice_split(&rest, ' ', &part))
        if (slice_eqs(part, a->value[id]))
            return 0;
    return err_set(e, ERR_INVALID, "--%s \"%s\" is none of: %s", option_rows[id].name, a->value[id],
                   option_rows[id].choices);
}

static int check(const struct args *a, struct err *e)
{
    const struct verb *v = a->verb;
    const char *group = v->group == NULL ? "" : v->group, *blank = v->group == NULL ? "" : " ";
    for (int id = 0; id < OPTION_COUNT; id++) {
        bool allowed = option_rows[id].general || (v->options & OPTION_BIT(id)) != 0;
        if (args_has(a, (enum option_id)id) && !allowed)
            return err_set(e, ERR_INVALID, "\"%s%s%s\" has no option \"--%s\"", group, blank,
                           v->name, option_rows[id].name);
        if (args_has(a, (enum option_id)id) && option_rows[id].choices != NULL &&
            check_choice(a, (enum option_id)id, e) != 0)
            return ERR_INVALID;
    }
    if (a->n_words < (size_t)v->min)
        return err_set(e, ERR_INVALID, "\"%s%s%s\" needs %s", group, blank, v->name, v->args);
    if (v->max >= 0 && a->n_words > (size_t)v->max)
        return err_set(e, ERR_INVALID, "\"%s\" is one word too many for \"%s%s%s\"",
                       a->words[v->max], group, blank, v->name);
    return 0;
}

int args_parse(struct args *ret, const struct verb *verbs, size_t n_verbs, int argc, char **argv,
               struct err *e)
{
    *ret = (struct args){0};
    size_t letters = 0; /* a word may hold several options: -ai */
    for (int i = 1; i < argc; i++)
        letters += strlen(argv[i]);
    ret->all = mem_calloc((size_t)argc + 1, sizeof *ret->all);
    ret->values = mem_calloc(letters + 1, sizeof *ret->values);
    if (ret->all == NULL || ret->values == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    struct walk w = {
        .argc = argc, .at = 1, .argv = argv, .a = ret, .verbs = verbs, .n_verbs = n_verbs, .e = e};
    int rc = collect(&w);
    if (rc == 0)
        rc = find_verb(ret, verbs, n_verbs, e);
    if (rc == 0 && ret->verb != NULL && !args_has(ret, OPTION_HELP) &&
        !args_has(ret, OPTION_VERSION))
        rc = check(ret, e);
    return rc;
}

/* "  name ARGS", the help at a column, or on the next line if there is no room. */
static void help_line(struct buf *out, const char *group, const char *left, const char *args,
                      const char *help)
{
    enum { COLUMN = 33 };
    size_t start = out->len;
    buf_addf(out, "  %s%s%s%s%s", group == NULL ? "" : group, group == NULL ? "" : " ", left,
             *args == '\0' ? "" : " ", args);
    if (out->len - start > COLUMN - 2) {
        buf_addc(out, '\n');
        start = out->len;
    }
    while (out->err == 0 && out->len - start < COLUMN)
        buf_addc(out, ' ');
    buf_addf(out, "%s\n", help);
}

static void help_options(struct buf *out, uint64_t mask)
{
    for (int id = 0; id < OPTION_COUNT; id++) {
        const struct option_row *o = &option_rows[id];
        if ((mask & OPTION_BIT(id)) == 0)
            continue;
        _cleanup_(buf_done) struct buf left = BUF_INIT(128);
        if (o->letter != 0)
            buf_addf(&left, "-%c, ", o->letter);
        else
            buf_addlit(&left, "    ");
        buf_addf(&left, "--%s", o->name);
        if (o->bare)
            buf_addf(&left, "[=%s]", o->value);
        if (left.err == 0)
            help_line(out, NULL, left.data, o->value == NULL || o->bare ? "" : o->value, o->help);
        else
            out->err = left.err;
    }
}

static uint64_t general_options(void)
{
    uint64_t mask = 0;
    for (int id = 0; id < OPTION_COUNT; id++)
        if (option_rows[id].general)
            mask |= OPTION_BIT(id);
    return mask;
}

static void help_verb(struct buf *out, const struct verb *v)
{
    buf_addf(out, "gantry %s%s%s%s%s\n\n  %s\n", v->group == NULL ? "" : v->group,
             v->group == NULL ? "" : " ", v->name, *v->args == '\0' ? "" : " ", v->args, v->help);
    if (v->more != NULL)
        buf_addf(out, "%s", v->more);
    if (v->options != 0) {
        buf_addlit(out, "\nOptions:\n");
        help_options(out, v->options);
    }
    buf_addlit(out, "\nGeneral options:\n");
    help_options(out, general_options());
}

int args_help(struct buf *out, const struct verb *verbs, size_t n_verbs, const char *group,
              const struct verb *verb)
{
    if (verb != NULL) {
        help_verb(out, verb);
        return out->err;
    }
    buf_addf(out,
             "gantry: workloads, services in containers, Docker containers, on this machine\n\n"
             "  gantry [OPTIONS] %s%sCOMMAND [ARGUMENTS]\n\nCommands:\n",
             group == NULL ? "" : group, group == NULL ? "" : " ");
    for (size_t i = 0; i < n_verbs; i++)
        if (group == NULL || (verbs[i].group != NULL && same(verbs[i].group, group)))
            help_line(out, verbs[i].group, verbs[i].name, verbs[i].args, verbs[i].help);
    buf_addlit(out, "\nGeneral options:\n");
    help_options(out, general_options());
    buf_addlit(
        out, "\n`gantry help COMMAND` tells more. gantryd is looked for at --host, $GANTRY_HOST,\n"
             "--context, $GANTRY_CONTEXT, the context in use, /run/gantry/gantryd.sock,\n"
             "$XDG_RUNTIME_DIR/gantry/gantryd.sock.\n"
             "Exit status: 0 done, 1 the answer is no, 2 wrong use, 3 gantryd not reachable,\n"
             "4 not allowed.\n");
    return out->err;
}
