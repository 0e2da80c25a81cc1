/* docker_run_values.c: ports, volumes and quantities as "docker run" writes them. */
#include "core/docker_run_priv.h"

#include "base/mem.h"
#include "base/str.h"

#include <string.h>

/* --- Quantities --- */

/* Digits with at most one point, as thousandths; *rest is what follows. False: none, or too many.
 */
static bool take_decimal(struct slice *rest, int64_t *thousandths)
{
    int64_t whole = 0, part = 0;
    size_t i = 0, digits = 0;
    int64_t unit = 100;
    for (; i < rest->len && rest->p[i] >= '0' && rest->p[i] <= '9'; i++, digits++) {
        if (whole > INT64_MAX / 100000)
            return false;
        whole = whole * 10 + (rest->p[i] - '0');
    }
    if (i < rest->len && rest->p[i] == '.') {
        for (i++; i < rest->len && rest->p[i] >= '0' && rest->p[i] <= '9'; i++, digits++) {
            part += unit * (rest->p[i] - '0');
            unit /= 10;
        }
    }
    *rest = (struct slice){rest->p + i, rest->len - i};
    *thousandths = whole * 1000 + part;
    return digits > 0;
}

bool docker_run_size(struct slice v, int64_t *ret)
{
    static const struct {
        const char *unit;
        unsigned shift;
    } units[] = {{"", 0},     {"b", 0},   {"k", 10},   {"kb", 10}, {"kib", 10},
                 {"m", 20},   {"mb", 20}, {"mib", 20}, {"g", 30},  {"gb", 30},
                 {"gib", 30}, {"t", 40},  {"tb", 40},  {"tib", 40}};
    int64_t n, bytes;
    if (!take_decimal(&v, &n))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (!slice_eq_nocase(v, slice_of(units[i].unit)))
            continue;
        if (__builtin_mul_overflow(n, (int64_t)1 << units[i].shift, &bytes))
            return false;
        *ret = bytes / 1000;
        return true;
    }
    return false;
}

bool docker_run_duration(struct slice v, int64_t *ret_ms)
{
    static const struct {
        const char *unit;
        int64_t us;
    } units[] = {{"ns", 0},      {"us", 1},       {"ms", 1000},
                 {"s", 1000000}, {"m", 60000000}, {"h", 3600000000}};
    int64_t total = 0;
    if (slice_eqs(v, "0")) {
        *ret_ms = 0;
        return true;
    }
    if (v.len == 0)
        return false;
    while (v.len > 0) {
        int64_t n, us;
        size_t len = 0, i = 0;
        if (!take_decimal(&v, &n))
            return false;
        while (len < v.len && v.p[len] >= 'a' && v.p[len] <= 'z')
            len++;
        while (i < ARRAY_LEN(units) && !slice_eqs((struct slice){v.p, len}, units[i].unit))
            i++;
        if (i == ARRAY_LEN(units) || __builtin_mul_overflow(n, units[i].us, &us) ||
            __builtin_add_overflow(total, us / 1000, &total))
            return false;
        v = (struct slice){v.p + len, v.len - len};
    }
    *ret_ms = total / 1000;
    return true;
}

/* --- Ports --- */

struct range {
    int64_t first, last;
};

/* "80" or "8000-8010". */
static bool parse_range(struct slice v, struct range *ret)
{
    const char *dash = v.len > 0 ? memchr(v.p, '-', v.len) : NULL;
    struct slice low = v, high = v;
    *ret = (struct range){0};
    if (dash != NULL) {
        low = (struct slice){v.p, (size_t)(dash - v.p)};
        high = (struct slice){dash + 1, v.len - low.len - 1};
    }
    if (low.len == 0 || high.len == 0 || low.p[0] == '+' || high.p[0] == '+' ||
        str_to_i64(low, &ret->first) != 0 || str_to_i64(high, &ret->last) != 0)
        return false;
    return ret->first >= 1 && ret->first <= ret->last && ret->last <= 65535;
}

/* Cuts what is behind the last `sep` off; false: there is none. */
static bool cut_last(struct slice *v, char sep, struct slice *tail)
{
    for (size_t i = v->len; i > 0; i--) {
        if (v->p[i - 1] != sep)
            continue;
        *tail = (struct slice){v->p + i, v->len - i};
        v->len = i - 1;
        return true;
    }
    return false;
}

struct publish {
    struct slice ip;
    struct range host, inside;
    bool any_host;
    int protocol;
};

/* [IP:][HOST[-LAST]:]PORT[-LAST][/PROTOCOL]; NULL, or why not. */
static const char *parse_publish(struct slice v, struct publish *p)
{
    struct slice protocol, inside, host = {NULL, 0};
    *p = (struct publish){.any_host = true};
    if (cut_last(&v, '/', &protocol)) {
        p->protocol = slice_eq_nocase(protocol, SLICE_LIT("udp"));
        if (p->protocol == 0 && !slice_eq_nocase(protocol, SLICE_LIT("tcp")))
            return "the protocol must be tcp or udp";
    }
    if (!cut_last(&v, ':', &inside)) {
        inside = v;
        v = (struct slice){v.p, 0};
    } else if (!cut_last(&v, ':', &host)) {
        host = v;
        v = (struct slice){v.p, 0};
        p->any_host = host.len == 0;
    } else {
        p->any_host = host.len == 0;
    }
    if (v.len > 2 && v.p[0] == '[' && v.p[v.len - 1] == ']')
        v = (struct slice){v.p + 1, v.len - 2};
    p->ip = v;
    if (!parse_range(inside, &p->inside) || (!p->any_host && !parse_range(host, &p->host)))
        return "not [ip:][port:]port, with ports or ranges of 1 to 65535";
    if (!p->any_host && p->host.last - p->host.first != p->inside.last - p->inside.first)
        return "the ranges are not of one length";
    return NULL;
}

void docker_run_publish(struct docker_run *r, const char *flag, struct slice v)
{
    struct schema_list *l = &r->doc->container.ports;
    struct docker_run_shown s;
    struct publish p;
    const char *why = parse_publish(v, &p);
    if (why == NULL && p.inside.last - p.inside.first >= (int64_t)(DOC_LIST_MAX - l->count))
        why = "too many ports";
    if (why != NULL) {
        docker_run_error(r, flag, "\"%s\": %s", docker_run_show(&s, v), why);
        return;
    }
    for (int64_t i = 0; i <= p.inside.last - p.inside.first && !r->no_memory; i++) {
        struct doc_port *port = schema_list_add(l, sizeof(*port));
        if (port == NULL) {
            r->no_memory = true;
            return;
        }
        *port = (struct doc_port){.host_port = p.any_host ? 0 : p.host.first + i,
                                  .container_port = p.inside.first + i,
                                  .protocol = p.protocol};
        if (p.ip.len > 0)
            docker_run_set(r, &port->host_ip, p.ip);
    }
}

/* --- Volumes --- */

/* The path of the machine, made absolute. */
static void set_host_path(struct docker_run *r, const char *flag, char **to, struct slice v)
{
    struct docker_run_shown s;
    struct buf b = BUF_INIT(2 * DOC_PATH_MAX);
    if (v.len > 0 && v.p[0] == '/') {
        docker_run_set(r, to, v);
        return;
    }
    if (r->options->cwd == NULL) {
        docker_run_error(r, flag, "\"%s\" is not an absolute path", docker_run_show(&s, v));
        return;
    }
    while (slice_starts(v, "./"))
        v = (struct slice){v.p + 2, v.len - 2};
    (void)buf_adds(&b, r->options->cwd);
    if (v.len > 0 && !slice_eqs(v, ".")) {
        (void)buf_adds(&b, b.len > 0 && b.data[b.len - 1] == '/' ? "" : "/");
        (void)buf_add(&b, v.p, v.len);
    }
    if (b.err == ERR_LIMIT)
        docker_run_error(r, flag, "\"%s\" is too long a path", docker_run_show(&s, v));
    else if (b.err != 0)
        r->no_memory = true;
    else
        docker_run_set(r, to, (struct slice){b.data, b.len});
    buf_done(&b);
}

static void add_mount(struct docker_run *r, const char *flag, struct slice source,
                      struct slice target, bool read_only)
{
    struct doc_mount *m = schema_list_add(&r->doc->container.volumes, sizeof(*m));
    if (m == NULL) {
        r->no_memory = true;
        return;
    }
    m->read_only = read_only;
    set_host_path(r, flag, &m->host_path, source);
    docker_run_set(r, &m->container_path, target);
}

/* Options behind a volume's second colon. False: it has none of our meaning. */
static bool volume_option(struct docker_run *r, const char *flag, struct slice v, bool *read_only)
{
    struct docker_run_shown s;
    if (slice_eqs(v, "ro") || slice_eqs(v, "readonly"))
        *read_only = true;
    else if (slice_eqs(v, "cached") || slice_eqs(v, "delegated") || slice_eqs(v, "consistent"))
        docker_run_warn(r, flag, "option \"%s\" has no effect on Linux", docker_run_show(&s, v));
    else if (!slice_eqs(v, "rw"))
        return false;
    return true;
}

static bool is_place(struct slice v)
{
    return v.len > 0 && (v.p[0] == '/' || v.p[0] == '.');
}

void docker_run_volume(struct docker_run *r, const char *flag, struct slice v)
{
    struct slice rest = v, source, target, options = {NULL, 0}, option;
    struct docker_run_shown s;
    bool read_only = false;
    (void)slice_split(&rest, ':', &source);
    if (!slice_split(&rest, ':', &target)) {
        docker_run_error(r, flag,
                         "\"%s\" is a volume without a name, which has no equivalent: "
                         "give a directory of the machine",
                         docker_run_show(&s, v));
        return;
    }
    if (!is_place(source)) {
        docker_run_error(r, flag,
                         "\"%s\" is a volume by name, which has no equivalent: give a "
                         "directory of the machine",
                         docker_run_show(&s, source));
        return;
    }
    (void)slice_split(&rest, ':', &options);
    if (rest.p != NULL) {
        docker_run_error(r, flag, "\"%s\" has too many parts", docker_run_show(&s, v));
        return;
    }
    while (options.p != NULL && slice_split(&options, ',', &option))
        if (!volume_option(r, flag, option, &read_only))
            docker_run_error(r, flag, "option \"%s\" has no equivalent",
                             docker_run_show(&s, option));
    add_mount(r, flag, source, target, read_only);
}

/* The next field of a line of values with commas: "..." protects commas, "" in it is a quote. The
 * text is in `out`. False: no more. */
static bool next_field(struct slice *rest, struct buf *out)
{
    bool quoted = false;
    size_t i = 0;
    buf_clear(out);
    if (rest->p == NULL)
        return false;
    for (; i < rest->len && (quoted || rest->p[i] != ','); i++) {
        bool twice = quoted && rest->p[i] == '"' && i + 1 < rest->len && rest->p[i + 1] == '"';
        if (rest->p[i] == '"' && !twice) {
            quoted = !quoted;
            continue;
        }
        i += twice;
        (void)buf_addc(out, rest->p[i]);
    }
    (void)buf_addlit(out, "");
    *rest = i < rest->len ? (struct slice){rest->p + i + 1, rest->len - i - 1}
                          : (struct slice){NULL, 0};
    return true;
}

struct mount_text {
    char *type, *source, *target;
    bool read_only, faulty;
};

static void mount_field(struct docker_run *r, const char *flag, struct slice field,
                        struct mount_text *m)
{
    struct slice value = field, key;
    struct docker_run_shown s;
    (void)slice_split(&value, '=', &key);
    if (slice_eqs(key, "type")) {
        docker_run_set(r, &m->type, value);
    } else if (slice_eqs(key, "source") || slice_eqs(key, "src")) {
        docker_run_set(r, &m->source, value);
    } else if (slice_eqs(key, "target") || slice_eqs(key, "dst") || slice_eqs(key, "destination")) {
        docker_run_set(r, &m->target, value);
    } else if (slice_eqs(key, "readonly") || slice_eqs(key, "ro")) {
        m->read_only = value.p == NULL || slice_eqs(value, "true") || slice_eqs(value, "1");
        if (!m->read_only && !slice_eqs(value, "false") && !slice_eqs(value, "0"))
            docker_run_error(r, flag, "\"%s\" is not true or false", docker_run_show(&s, value));
    } else if (slice_eqs(key, "consistency")) {
        docker_run_warn(r, flag, "consistency has no effect on Linux");
    } else {
        docker_run_error(r, flag, "\"%s\" has no equivalent", docker_run_show(&s, key));
        m->faulty = true;
    }
}

void docker_run_mount(struct docker_run *r, const char *flag, struct slice v)
{
    struct mount_text m = {0};
    struct slice rest = v;
    struct buf field = BUF_INIT(DOCKER_RUN_TEXT_MAX);
    struct docker_run_shown s;
    while (!r->no_memory && next_field(&rest, &field)) {
        if (field.err != 0)
            r->no_memory = true;
        else
            mount_field(r, flag, (struct slice){field.data, field.len}, &m);
    }
    if (r->no_memory || m.faulty)
        ;
    else if (m.type == NULL || strcmp(m.type, "bind") != 0)
        docker_run_error(r, flag, "type \"%s\" has no equivalent: only bind has",
                         docker_run_show(&s, slice_of(m.type != NULL ? m.type : "volume")));
    else if (m.source == NULL || m.target == NULL)
        docker_run_error(r, flag, "source and target are needed");
    else
        add_mount(r, flag, slice_of(m.source), slice_of(m.target), m.read_only);
    buf_done(&field);
    mem_free(m.type);
    mem_free(m.source);
    mem_free(m.target);
}
