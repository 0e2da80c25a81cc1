/* docker_run.c: the flags of "docker run". */
#include "core/docker_run.h"

#include "base/mem.h"
#include "base/str.h"
#include "core/docker_run_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* --- Notes --- */

static void done_list(struct schema_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        mem_free(((char **)l->items)[i]);
    mem_free(l->items);
    *l = (struct schema_list){0};
}

void docker_run_notes_done(struct docker_run_notes *n)
{
    done_list(&n->errors);
    done_list(&n->warnings);
}

static void BASE_PRINTF(4, 0)
    note(struct docker_run *r, struct schema_list *l, const char *flag, const char *fmt, va_list ap)
{
    char text[480];
    struct buf b = BUF_FIXED(text);
    if (l->count >= DOCKER_RUN_NOTES_MAX)
        return;
    if (flag != NULL)
        (void)buf_addf(&b, "%s: ", flag);
    (void)buf_addvf(&b, fmt, ap);
    if (schema_str_add(l, (struct slice){text, b.len}) != 0)
        r->no_memory = true;
}

void docker_run_error(struct docker_run *r, const char *flag, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    note(r, &r->notes->errors, flag, fmt, ap);
    va_end(ap);
    r->invalid = true;
}

void docker_run_warn(struct docker_run *r, const char *flag, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    note(r, &r->notes->warnings, flag, fmt, ap);
    va_end(ap);
}

static void BASE_PRINTF(3, 4)
    add_note(struct docker_run *r, struct schema_list *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    note(r, l, NULL, fmt, ap);
    va_end(ap);
}

void docker_run_unsupported(struct docker_run *r, const char *flag, const char *hint)
{
    struct schema_list *l = r->options->keep_going ? &r->notes->warnings : &r->notes->errors;
    add_note(r, l, "%s has no equivalent%s%s", flag, hint != NULL ? ": " : "",
             hint != NULL ? hint : "");
}

const char *docker_run_show(struct docker_run_shown *out, struct slice v)
{
    struct buf b = BUF_FIXED(out->text);
    size_t n = v.len > 25 ? 25 : v.len;
    if (str_add_printable(&b, v) == 0)
        return out->text;
    buf_clear(&b);
    while (n > 0 && n < v.len && ((unsigned char)v.p[n] & 0xC0) == 0x80)
        n--;
    (void)str_add_printable(&b, (struct slice){v.p, n});
    (void)buf_addlit(&b, "...");
    return out->text;
}

void docker_run_set(struct docker_run *r, char **to, struct slice v)
{
    char *copy = mem_strndup(v.len > 0 ? v.p : "", v.len);
    if (copy == NULL) {
        r->no_memory = true;
        return;
    }
    mem_free(*to);
    *to = copy;
}

/* --- Values of flags --- */

static struct doc_container *container(struct docker_run *r)
{
    return &r->doc->container;
}

static void set_name(struct docker_run *r, const char *flag, struct slice v)
{
    (void)flag;
    docker_run_set(r, &r->doc->id, v);
}
static void set_user(struct docker_run *r, const char *flag, struct slice v)
{
    (void)flag;
    docker_run_set(r, &container(r)->user, v);
}
static void set_workdir(struct docker_run *r, const char *flag, struct slice v)
{
    (void)flag;
    docker_run_set(r, &container(r)->working_dir, v);
}
static void set_hostname(struct docker_run *r, const char *flag, struct slice v)
{
    (void)flag;
    docker_run_set(r, &container(r)->hostname, v);
}

static void set_network(struct docker_run *r, const char *flag, struct slice v)
{
    if (r->has_network) {
        docker_run_unsupported(r, flag, "a workload is in one network");
        return;
    }
    r->has_network = true;
    if (memchr(v.p, '=', v.len) != NULL)
        docker_run_unsupported(r, flag, "options of a network; give its name alone");
    else
        docker_run_set(r, &container(r)->network_mode, v);
}

static void set_entrypoint(struct docker_run *r, const char *flag, struct slice v)
{
    if (v.len == 0)
        docker_run_unsupported(r, flag, "an empty one; give the program and its arguments");
    else if (schema_str_add(&container(r)->entrypoint, v) != 0)
        r->no_memory = true;
}

/* The last one counts, as in Docker. */
static void put_pair(struct docker_run *r, struct schema_list *l, struct slice key,
                     struct slice value)
{
    struct doc_pair *p = l->items;
    for (size_t i = 0; i < l->count; i++) {
        if (slice_eqs(key, p[i].key)) {
            docker_run_set(r, &p[i].value, value);
            return;
        }
    }
    if (schema_pair_add(l, key, value) != 0)
        r->no_memory = true;
}

static void add_env(struct docker_run *r, const char *flag, struct slice v)
{
    struct slice value = v, key;
    struct docker_run_shown s;
    char name[DOC_NAME_MAX + 1];
    struct buf b = BUF_FIXED(name);
    (void)slice_split(&value, '=', &key);
    if (value.p != NULL) {
        put_pair(r, &container(r)->env, key, value);
        return;
    }
    const struct docker_run_options *o = r->options;
    const char *own =
        buf_add(&b, key.p, key.len) == 0 && o->variable != NULL ? o->variable(o->ctx, name) : NULL;
    if (own != NULL)
        put_pair(r, &container(r)->env, key, slice_of(own));
    else
        docker_run_error(r, flag, "\"%s\" has no value here: write %s=value",
                         docker_run_show(&s, key), docker_run_show(&s, key));
}

static void add_label(struct docker_run *r, const char *flag, struct slice v)
{
    struct slice value = v, key;
    (void)flag;
    (void)slice_split(&value, '=', &key);
    put_pair(r, &container(r)->labels, key, value);
}

/* One NAME=value a line; lines that begin with # are comments. */
static void each_line(struct docker_run *r, const char *flag, struct slice path,
                      void (*fn)(struct docker_run *r, const char *flag, struct slice v))
{
    const struct docker_run_options *o = r->options;
    struct buf content = BUF_INIT(DOCKER_RUN_TEXT_MAX);
    struct err e = {0};
    struct docker_run_shown s;
    char *name = mem_strndup(path.p, path.len);
    int rc = name == NULL ? ERR_NO_MEMORY : ERR_UNSUPPORTED;
    if (name != NULL && o->file != NULL)
        rc = o->file(o->ctx, name, &content, &e);
    if (rc == ERR_NO_MEMORY)
        r->no_memory = true;
    else if (o->file == NULL)
        docker_run_error(r, flag, "\"%s\" cannot be read here: give its lines one by one",
                         docker_run_show(&s, path));
    else if (rc != 0)
        docker_run_error(r, flag, "%s", e.msg);
    struct slice rest = {content.data, content.len}, line;
    while (rc == 0 && !r->no_memory && slice_split(&rest, '\n', &line)) {
        while (line.len > 0 && (line.p[0] == ' ' || line.p[0] == '\t'))
            line = (struct slice){line.p + 1, line.len - 1};
        if (line.len > 0 && line.p[line.len - 1] == '\r')
            line.len--;
        if (line.len > 0 && line.p[0] != '#')
            fn(r, flag, line);
    }
    mem_free(name);
    buf_done(&content);
}

static void add_env_file(struct docker_run *r, const char *flag, struct slice v)
{
    each_line(r, flag, v, add_env);
}
static void add_label_file(struct docker_run *r, const char *flag, struct slice v)
{
    each_line(r, flag, v, add_label);
}

static void set_restart(struct docker_run *r, const char *flag, struct slice v)
{
    static const char *const names[] = {"no", "always", "on-failure", "unless-stopped"};
    struct doc_restart_policy *p = &container(r)->restart_policy;
    struct slice count = v, name;
    struct docker_run_shown s;
    int64_t n = 0;
    size_t i = 0;
    (void)slice_split(&count, ':', &name);
    while (i < ARRAY_LEN(names) && !slice_eqs(name, names[i]))
        i++;
    bool counted = count.p != NULL && i == DOC_RESTART_ON_FAILURE;
    if (i == ARRAY_LEN(names) || (count.p != NULL && !counted) ||
        (counted && (str_to_i64(count, &n) != 0 || n < 0)))
        docker_run_error(r, flag, "\"%s\" is not no, always, unless-stopped or on-failure[:times]",
                         docker_run_show(&s, v));
    else
        *p = (struct doc_restart_policy){(int)i, n};
}

static void set_size(struct docker_run *r, const char *flag, struct slice v, int64_t *to)
{
    struct docker_run_shown s;
    if (!docker_run_size(v, to))
        docker_run_error(r, flag, "\"%s\" is not a size such as 512m or 1.5g",
                         docker_run_show(&s, v));
}
static void set_memory(struct docker_run *r, const char *flag, struct slice v)
{
    set_size(r, flag, v, &container(r)->resources.memory_bytes);
}
static void set_swap(struct docker_run *r, const char *flag, struct slice v)
{
    if (slice_eqs(v, "-1"))
        container(r)->resources.memory_swap_bytes = -1;
    else
        set_size(r, flag, v, &container(r)->resources.memory_swap_bytes);
}

static void set_number(struct docker_run *r, const char *flag, struct slice v, int64_t *to)
{
    struct docker_run_shown s;
    if (str_to_i64(v, to) != 0)
        docker_run_error(r, flag, "\"%s\" is not a number", docker_run_show(&s, v));
}
static void set_shares(struct docker_run *r, const char *flag, struct slice v)
{
    set_number(r, flag, v, &container(r)->resources.cpu_shares);
}
static void set_stop_timeout(struct docker_run *r, const char *flag, struct slice v)
{
    int64_t n = 1;
    set_number(r, flag, v, &n);
    if (n <= 0)
        docker_run_unsupported(r, flag, "at once or never; give a number of seconds");
    else
        container(r)->stop_timeout_s = n;
}

static void set_pull(struct docker_run *r, const char *flag, struct slice v)
{
    struct docker_run_shown s;
    if (slice_eqs(v, "always"))
        container(r)->image_pull = DOC_PULL_ALWAYS;
    else if (slice_eqs(v, "never"))
        container(r)->image_pull = DOC_PULL_NEVER;
    else if (slice_eqs(v, "missing"))
        container(r)->image_pull = DOC_PULL_MISSING;
    else
        docker_run_error(r, flag, "\"%s\" is not always, missing or never", docker_run_show(&s, v));
}

/* --- Health --- */

/* Docker's own defaults, which hold where a command line says nothing. */
enum { DOCKER_INTERVAL_MS = 30000, DOCKER_TIMEOUT_MS = 30000 };

static void set_health_cmd(struct docker_run *r, const char *flag, struct slice v)
{
    struct doc_health *h = &r->doc->health;
    (void)flag;
    h->kind = DOC_HEALTH_COMMAND;
    done_list(&h->command);
    if (schema_str_add(&h->command, SLICE_LIT("/bin/sh")) != 0 ||
        schema_str_add(&h->command, SLICE_LIT("-c")) != 0 || schema_str_add(&h->command, v) != 0)
        r->no_memory = true;
}

/* 0 stands for Docker's own: then nothing is set, and the answer is false. */
static bool set_time(struct docker_run *r, const char *flag, struct slice v, int64_t *to)
{
    struct docker_run_shown s;
    int64_t ms = 0;
    r->has_health_value = true;
    if (!docker_run_duration(v, &ms))
        docker_run_error(r, flag, "\"%s\" is not a time such as 30s or 1m30s",
                         docker_run_show(&s, v));
    else if (ms > 0)
        *to = ms;
    return ms > 0;
}
static void set_health_interval(struct docker_run *r, const char *flag, struct slice v)
{
    r->has_interval = set_time(r, flag, v, &r->doc->health.interval_ms);
}
static void set_health_timeout(struct docker_run *r, const char *flag, struct slice v)
{
    r->has_timeout = set_time(r, flag, v, &r->doc->health.timeout_ms);
}
static void set_health_start(struct docker_run *r, const char *flag, struct slice v)
{
    (void)set_time(r, flag, v, &r->doc->health.start_period_ms);
}
static void set_health_retries(struct docker_run *r, const char *flag, struct slice v)
{
    int64_t n = 0;
    r->has_health_value = true;
    set_number(r, flag, v, &n);
    if (n != 0)
        r->doc->health.retries = n;
}

/* --- Switches --- */

static void set_tty(struct docker_run *r, const char *flag, bool on)
{
    (void)flag;
    container(r)->tty = on;
}
static void set_privileged(struct docker_run *r, const char *flag, bool on)
{
    (void)flag;
    container(r)->privileged = on;
}
static void set_read_only(struct docker_run *r, const char *flag, bool on)
{
    (void)flag;
    container(r)->read_only_rootfs = on;
}
static void set_no_health(struct docker_run *r, const char *flag, bool on)
{
    if (!on)
        return;
    r->no_health = true;
    docker_run_warn(r, flag, "nothing follows from the image's own check, but it is still run");
}

/* --- The table --- */

enum { VALUE, SWITCH };
struct flag {
    const char *name;
    char letter; /* '\0': none */
    unsigned char kind;
    bool same; /* it is so with every workload: nothing is to be said */
    void (*value)(struct docker_run *r, const char *flag, struct slice v);
    void (*turn)(struct docker_run *r, const char *flag, bool on);
    const char *warning; /* the workload is the same without it */
    const char *hint;    /* what to do instead; neither this nor any above: no equivalent */
};

#define NOT_ATTACHED "has no effect, as nobody is attached to a workload"

static const struct flag flags[] = {
    {"add-host", '\0', VALUE},
    {"annotation", '\0', VALUE},
    {"attach", 'a', VALUE, .warning = NOT_ATTACHED},
    {"blkio-weight", '\0', VALUE},
    {"blkio-weight-device", '\0', VALUE},
    {"cap-add", '\0', VALUE},
    {"cap-drop", '\0', VALUE},
    {"cgroup-parent", '\0', VALUE},
    {"cgroupns", '\0', VALUE},
    {"cidfile", '\0', VALUE, .warning = "has no effect: gantry get tells the container's id"},
    {"cpu-count", '\0', VALUE},
    {"cpu-percent", '\0', VALUE},
    {"cpu-period", '\0', VALUE, .hint = "use --cpu-shares"},
    {"cpu-quota", '\0', VALUE, .hint = "use --cpu-shares"},
    {"cpu-rt-period", '\0', VALUE},
    {"cpu-rt-runtime", '\0', VALUE},
    {"cpu-shares", 'c', VALUE, .value = set_shares},
    {"cpus", '\0', VALUE, .hint = "use --cpu-shares"},
    {"cpuset-cpus", '\0', VALUE},
    {"cpuset-mems", '\0', VALUE},
    {"detach", 'd', SWITCH, .same = true},
    {"detach-keys", '\0', VALUE, .warning = NOT_ATTACHED},
    {"device", '\0', VALUE, .hint = "--privileged shows all devices"},
    {"device-cgroup-rule", '\0', VALUE},
    {"device-read-bps", '\0', VALUE},
    {"device-read-iops", '\0', VALUE},
    {"device-write-bps", '\0', VALUE},
    {"device-write-iops", '\0', VALUE},
    {"disable-content-trust", '\0', SWITCH, .warning = "has no effect"},
    {"dns", '\0', VALUE},
    {"dns-opt", '\0', VALUE},
    {"dns-option", '\0', VALUE},
    {"dns-search", '\0', VALUE},
    {"domainname", '\0', VALUE},
    {"entrypoint", '\0', VALUE, .value = set_entrypoint},
    {"env", 'e', VALUE, .value = add_env},
    {"env-file", '\0', VALUE, .value = add_env_file},
    {"expose", '\0', VALUE, .warning = "has no effect: a port is reached with -p"},
    {"gpus", '\0', VALUE},
    {"group-add", '\0', VALUE},
    {"health-cmd", '\0', VALUE, .value = set_health_cmd},
    {"health-interval", '\0', VALUE, .value = set_health_interval},
    {"health-retries", '\0', VALUE, .value = set_health_retries},
    {"health-start-interval", '\0', VALUE},
    {"health-start-period", '\0', VALUE, .value = set_health_start},
    {"health-timeout", '\0', VALUE, .value = set_health_timeout},
    {"hostname", 'h', VALUE, .value = set_hostname},
    {"init", '\0', SWITCH, .hint = "use an image whose program reaps its children"},
    {"interactive", 'i', SWITCH, .warning = NOT_ATTACHED},
    {"io-maxbandwidth", '\0', VALUE},
    {"io-maxiops", '\0', VALUE},
    {"ip", '\0', VALUE},
    {"ip6", '\0', VALUE},
    {"ipc", '\0', VALUE},
    {"isolation", '\0', VALUE},
    {"kernel-memory", '\0', VALUE},
    {"label", 'l', VALUE, .value = add_label},
    {"label-file", '\0', VALUE, .value = add_label_file},
    {"link", '\0', VALUE, .hint = "put both into one network"},
    {"link-local-ip", '\0', VALUE},
    {"log-driver", '\0', VALUE},
    {"log-opt", '\0', VALUE},
    {"mac-address", '\0', VALUE},
    {"memory", 'm', VALUE, .value = set_memory},
    {"memory-reservation", '\0', VALUE},
    {"memory-swap", '\0', VALUE, .value = set_swap},
    {"memory-swappiness", '\0', VALUE},
    {"mount", '\0', VALUE, .value = docker_run_mount},
    {"name", '\0', VALUE, .value = set_name},
    {"net", '\0', VALUE, .value = set_network},
    {"net-alias", '\0', VALUE},
    {"network", '\0', VALUE, .value = set_network},
    {"network-alias", '\0', VALUE},
    {"no-healthcheck", '\0', SWITCH, .turn = set_no_health},
    {"oom-kill-disable", '\0', SWITCH},
    {"oom-score-adj", '\0', VALUE},
    {"pid", '\0', VALUE},
    {"pids-limit", '\0', VALUE},
    {"platform", '\0', VALUE},
    {"privileged", '\0', SWITCH, .turn = set_privileged},
    {"publish", 'p', VALUE, .value = docker_run_publish},
    {"publish-all", 'P', SWITCH, .hint = "name the ports with -p"},
    {"pull", '\0', VALUE, .value = set_pull},
    {"quiet", 'q', SWITCH, .warning = "has no effect"},
    {"read-only", '\0', SWITCH, .turn = set_read_only},
    {"restart", '\0', VALUE, .value = set_restart},
    {"rm", '\0', SWITCH,
     .warning = "has no effect: a workload that ends is started again until it is stopped or "
                "deleted"},
    {"runtime", '\0', VALUE},
    {"security-opt", '\0', VALUE},
    {"shm-size", '\0', VALUE},
    {"sig-proxy", '\0', SWITCH, .warning = NOT_ATTACHED},
    {"stop-signal", '\0', VALUE},
    {"stop-timeout", '\0', VALUE, .value = set_stop_timeout},
    {"storage-opt", '\0', VALUE},
    {"sysctl", '\0', VALUE},
    {"tmpfs", '\0', VALUE},
    {"tty", 't', SWITCH, .turn = set_tty},
    {"ulimit", '\0', VALUE},
    {"use-api-socket", '\0', SWITCH},
    {"user", 'u', VALUE, .value = set_user},
    {"userns", '\0', VALUE},
    {"uts", '\0', VALUE},
    {"volume", 'v', VALUE, .value = docker_run_volume},
    {"volume-driver", '\0', VALUE},
    {"volumes-from", '\0', VALUE},
    {"workdir", 'w', VALUE, .value = set_workdir},
};

static const struct flag *find_flag(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (slice_eqs(name, flags[i].name))
            return &flags[i];
    return NULL;
}

static const struct flag *find_letter(char letter)
{
    for (size_t i = 0; letter != '\0' && i < ARRAY_LEN(flags); i++)
        if (flags[i].letter == letter)
            return &flags[i];
    return NULL;
}

/* `told`: as it was written, "--name" or "-p". */
static void apply_flag(struct docker_run *r, const struct flag *f, const char *told, struct slice v)
{
    struct docker_run_shown s;
    bool on = f->kind == VALUE || v.p == NULL || slice_eqs(v, "true") || slice_eqs(v, "1");
    if (!on && !slice_eqs(v, "false") && !slice_eqs(v, "0")) {
        docker_run_error(r, told, "\"%s\" is not true or false", docker_run_show(&s, v));
    } else if (f->value != NULL) {
        f->value(r, told, v);
    } else if (f->turn != NULL) {
        f->turn(r, told, on);
    } else if (f->warning != NULL && on) {
        docker_run_warn(r, told, "%s", f->warning);
    } else if (!f->same && on) {
        docker_run_unsupported(r, told, f->hint);
    }
}

/* --- The command line --- */

struct words {
    const char *const *p;
    size_t n, at;
};

/* The value behind a flag; p NULL and an error: there is none. */
static struct slice next_value(struct docker_run *r, struct words *w, const char *told)
{
    if (w->at < w->n)
        return slice_of(w->p[w->at++]);
    docker_run_error(r, told, "the value is missing");
    return (struct slice){NULL, 0};
}

/* "--name=x", "--name x", "--rm" */
static void long_flag(struct docker_run *r, struct words *w, const char *word)
{
    struct slice value = slice_of(word + 2), name;
    struct docker_run_shown s;
    char told[64];
    struct buf b = BUF_FIXED(told);
    (void)slice_split(&value, '=', &name);
    const struct flag *f = find_flag(name);
    if (f == NULL) {
        docker_run_error(r, NULL, "--%s is not a flag of docker run", docker_run_show(&s, name));
        return;
    }
    (void)buf_addf(&b, "--%s", f->name);
    if (f->kind == VALUE && value.p == NULL)
        value = next_value(r, w, told);
    if (f->kind == SWITCH || value.p != NULL)
        apply_flag(r, f, told, value);
}

/* "-it", "-p80:80", "-p 80:80", "-p=80:80" */
static void short_flags(struct docker_run *r, struct words *w, const char *word)
{
    struct docker_run_shown s;
    for (const char *p = word + 1; *p != '\0'; p++) {
        const struct flag *f = find_letter(*p);
        const char told[] = {'-', *p, '\0'};
        struct slice value = {NULL, 0};
        if (f == NULL) {
            docker_run_error(r, NULL, "\"%s\" is not a flag of docker run",
                             docker_run_show(&s, slice_of(word)));
            return;
        }
        if (p[1] == '=')
            value = slice_of(p + 2);
        else if (f->kind == VALUE && p[1] != '\0')
            value = slice_of(p + 1);
        else if (f->kind == VALUE)
            value = next_value(r, w, told);
        if (f->kind == SWITCH || value.p != NULL)
            apply_flag(r, f, told, value);
        if (f->kind == VALUE || p[1] == '=')
            return;
    }
}

/* "docker run", "sudo docker container run", "podman run", "run", or nothing of these. */
static void skip_program(struct words *w)
{
    static const char *const parts[] = {"sudo", "docker", "container", "run"};
    for (size_t i = 0; i < ARRAY_LEN(parts) && w->at < w->n; i++)
        if (strcmp(w->p[w->at], parts[i]) == 0 || (i == 1 && strcmp(w->p[w->at], "podman") == 0))
            w->at++;
}

/* "registry:5000/team/web:1.2@sha256:..." -> "web" */
static void name_of_image(struct docker_run *r, struct slice image)
{
    const char *at = memchr(image.p, '@', image.len);
    struct docker_run_shown s;
    if (at != NULL)
        image.len = (size_t)(at - image.p);
    for (size_t i = image.len; i > 0; i--) {
        if (image.p[i - 1] == '/') {
            image = (struct slice){image.p + i, image.len - i};
            break;
        }
    }
    const char *tag = image.len > 0 ? memchr(image.p, ':', image.len) : NULL;
    if (tag != NULL)
        image.len = (size_t)(tag - image.p);
    docker_run_set(r, &r->doc->id, image);
    docker_run_warn(r, NULL, "there is no --name: the workload is called \"%s\"",
                    docker_run_show(&s, image));
}

static void take_words(struct docker_run *r, struct words *w)
{
    skip_program(w);
    while (w->at < w->n && !r->no_memory && w->p[w->at][0] == '-' && w->p[w->at][1] != '\0') {
        const char *word = w->p[w->at++];
        if (strcmp(word, "--") == 0)
            break;
        if (word[1] == '-')
            long_flag(r, w, word);
        else
            short_flags(r, w, word);
    }
    if (w->at >= w->n) {
        docker_run_error(r, NULL, "the image is missing");
        return;
    }
    docker_run_set(r, &container(r)->image, slice_of(w->p[w->at++]));
    while (w->at < w->n && !r->no_memory)
        if (schema_str_add(&container(r)->command, slice_of(w->p[w->at++])) != 0)
            r->no_memory = true;
}

/* What only the whole can tell. */
static void finish(struct docker_run *r)
{
    const struct docker_run_options *o = r->options;
    const struct doc_container *c = container(r);
    if (r->no_health && r->doc->health.kind != DOC_HEALTH_NONE)
        docker_run_error(r, "--no-healthcheck", "there is a --health-cmd, too");
    if (r->has_health_value && r->doc->health.kind == DOC_HEALTH_NONE)
        docker_run_unsupported(r, "--health-*",
                               "the image's own check cannot be changed; give a --health-cmd");
    if (r->doc->health.kind != DOC_HEALTH_NONE && !r->has_interval)
        r->doc->health.interval_ms = DOCKER_INTERVAL_MS;
    if (r->doc->health.kind != DOC_HEALTH_NONE && !r->has_timeout)
        r->doc->health.timeout_ms = DOCKER_TIMEOUT_MS;
    if (r->doc->id == NULL && o->id != NULL)
        docker_run_set(r, &r->doc->id, slice_of(o->id));
    if (r->doc->id == NULL && c->image != NULL)
        name_of_image(r, slice_of(c->image));
}

static int conclude(struct docker_run *r, struct err *e)
{
    const struct schema_list *l = &r->notes->errors;
    struct err own = {0};
    if (!r->no_memory && l->count == 0) {
        int rc = workload_doc_check(r->doc, &own);
        r->no_memory = rc == ERR_NO_MEMORY;
        if (rc != 0 && !r->no_memory)
            docker_run_error(r, NULL, "%s", own.msg);
    }
    if (r->no_memory)
        return err_set(e, ERR_NO_MEMORY, "out of memory with a command line");
    if (l->count == 0)
        return 0;
    const char *first = ((char **)l->items)[0];
    int code = r->invalid ? ERR_INVALID : ERR_UNSUPPORTED;
    if (l->count == 1)
        return err_set(e, code, "%s", first);
    return err_set(e, code, "%s (and %zu more)", first, l->count - 1);
}

int docker_run_words(struct workload_doc *d, const char *const *words, size_t n,
                     const struct docker_run_options *o, struct docker_run_notes *notes,
                     struct err *e)
{
    static const struct docker_run_options none = {0};
    struct docker_run r = {.doc = d, .options = o != NULL ? o : &none, .notes = notes};
    struct words w = {words, n, 0};
    *notes = (struct docker_run_notes){0};
    memset(d, 0, sizeof(*d));
    if (n > DOCKER_RUN_WORDS_MAX)
        return err_set(e, ERR_LIMIT, "the command line has more than %d words",
                       DOCKER_RUN_WORDS_MAX);
    int rc = workload_doc_init(d, e);
    if (rc != 0)
        return rc;
    d->container.image_pull = DOC_PULL_MISSING; /* as docker run has it where nothing is said */
    take_words(&r, &w);
    if (!r.no_memory)
        finish(&r);
    return conclude(&r, e);
}
