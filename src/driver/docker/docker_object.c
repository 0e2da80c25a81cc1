#include "driver/docker/docker_object.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_spec.h"
#include "driver/docker/docker_text.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- times */

/* Days since 1970-01-01 in the Gregorian calendar, for years from 1970 on. */
static int64_t days_of(int64_t y, int64_t m, int64_t d)
{
    /* Counted from March, so that the leap day is the last of a year. */
    int64_t yy = m > 2 ? y : y - 1, mm = m > 2 ? m - 3 : m + 9;
    int64_t day = (153 * mm + 2) / 5 + d - 1;
    return yy * 365 + yy / 4 - yy / 100 + yy / 400 + day - 719468;
}

static bool number(struct slice *s, size_t digits, int64_t *ret)
{
    int64_t v = 0;
    if (s->len < digits)
        return false;
    for (size_t i = 0; i < digits; i++) {
        if (s->p[i] < '0' || s->p[i] > '9')
            return false;
        v = v * 10 + (s->p[i] - '0');
    }
    s->p += digits;
    s->len -= digits;
    *ret = v;
    return true;
}

static bool sign(struct slice *s, char c)
{
    if (s->len == 0 || s->p[0] != c)
        return false;
    s->p++;
    s->len--;
    return true;
}

static int64_t fraction_ns(struct slice *s)
{
    int64_t ns = 0, unit = (int64_t)NS_PER_S / 10;
    if (!sign(s, '.'))
        return 0;
    while (s->len > 0 && s->p[0] >= '0' && s->p[0] <= '9') {
        ns += (s->p[0] - '0') * unit;
        unit /= 10;
        s->p++;
        s->len--;
    }
    return ns;
}

/* Seconds east of Greenwich. */
static bool zone(struct slice *s, int64_t *ret)
{
    int64_t h, m, way = 1;
    *ret = 0;
    if (sign(s, 'Z'))
        return true;
    if (sign(s, '-'))
        way = -1;
    else if (!sign(s, '+'))
        return false;
    if (!number(s, 2, &h) || !sign(s, ':') || !number(s, 2, &m))
        return false;
    *ret = way * (h * 3600 + m * 60);
    return true;
}

int64_t docker_time_ns(struct slice text)
{
    int64_t y, mo, d, h, mi, s, east;
    struct slice t = text;
    if (!number(&t, 4, &y) || !sign(&t, '-') || !number(&t, 2, &mo) || !sign(&t, '-') ||
        !number(&t, 2, &d) || !sign(&t, 'T') || !number(&t, 2, &h) || !sign(&t, ':') ||
        !number(&t, 2, &mi) || !sign(&t, ':') || !number(&t, 2, &s))
        return 0;
    int64_t ns = fraction_ns(&t);
    if (!zone(&t, &east) || t.len != 0 || y < 1970 || y > 2200 || mo < 1 || mo > 12 || d < 1 ||
        d > 31 || h > 23 || mi > 59 || s > 60)
        return 0;
    int64_t seconds = days_of(y, mo, d) * 86400 + h * 3600 + mi * 60 + s - east;
    return seconds < 0 ? 0 : seconds * (int64_t)NS_PER_S + ns;
}

size_t docker_time_len(struct slice text)
{
    enum { LONGEST = 40 };
    size_t n = text.len < LONGEST ? text.len : LONGEST;
    const char *blank = n > 0 ? memchr(text.p, ' ', n) : NULL;
    if (blank == NULL)
        return 0;
    n = (size_t)(blank - text.p);
    return docker_time_ns((struct slice){text.p, n}) != 0 ? n : 0;
}

/* ---- the answer's parts */

static struct slice get_slice(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    if (!json_is_string(v))
        return (struct slice){"", 0};
    return (struct slice){json_string_value(v), json_string_length(v)};
}

static bool is_true(const json_t *obj, const char *key)
{
    bool v = false;
    (void)json_get_bool(obj, key, &v);
    return v;
}

/* The text as it is, or its beginning in `room`. JSON's texts are valid UTF-8. */
static const char *bounded(struct slice s, char room[DOCKER_FIELD_MAX + 1])
{
    if (s.len <= DOCKER_FIELD_MAX && memchr(s.p, '\0', s.len) == NULL)
        return s.p;
    struct slice cut = s;
    if (cut.len > DOCKER_FIELD_MAX)
        cut.len = DOCKER_FIELD_MAX;
    while (cut.len > 0 && !utf8_valid(cut.p, cut.len))
        cut.len--;
    for (size_t i = 0; i < cut.len; i++)
        room[i] = cut.p[i] != '\0' ? cut.p[i] : ' ';
    room[cut.len] = '\0';
    return room;
}

struct slice docker_labels_id(const json_t *labels)
{
    struct slice id = get_slice(labels, DOCKER_LABEL_ID);
    if (!slice_eqs(get_slice(labels, DOCKER_LABEL_MANAGED), "true") || !docker_name_valid(id) ||
        id.len > WORKLOAD_ID_MAX || get_slice(labels, DOCKER_LABEL_COMPOSE).len > 0)
        return (struct slice){NULL, 0};
    return id;
}

bool docker_object_named(const json_t *root, struct slice name)
{
    struct slice n = get_slice(root, "Name");
    return n.len == name.len + 1 && n.p[0] == '/' &&
           slice_eq((struct slice){n.p + 1, n.len - 1}, name);
}

static enum workload_health health_of(const json_t *state)
{
    struct slice s = get_slice(json_object_get(state, "Health"), "Status");
    if (slice_eqs(s, "starting"))
        return HEALTH_STARTING;
    if (slice_eqs(s, "healthy"))
        return HEALTH_HEALTHY;
    return slice_eqs(s, "unhealthy") ? HEALTH_UNHEALTHY : HEALTH_NONE;
}

static const char *address_of(const json_t *root)
{
    const json_t *settings = json_object_get(root, "NetworkSettings"), *network;
    const char *key, *mode = json_get_str(json_object_get(root, "HostConfig"), "NetworkMode");
    struct slice a = get_slice(settings, "IPAddress");
    if (mode != NULL && strcmp(mode, "host") == 0)
        return "127.0.0.1";
    if (a.len > 0 && a.len < 46)
        return a.p;
    json_object_foreach((json_t *)json_object_get(settings, "Networks"), key, network)
    {
        a = get_slice(network, "IPAddress");
        if (a.len > 0 && a.len < 46)
            return a.p;
    }
    return "";
}

/* Contract 5.1: restarting and paused before running, as the engine calls those running too. */
static void state_read(struct docker_object *x, const json_t *state)
{
    struct driver_object *o = &x->o;
    const char *why = bounded(slice_trim(get_slice(state, "Error")), x->field[0]);
    bool dead = is_true(state, "Dead");
    x->restarting = is_true(state, "Restarting");
    x->paused = is_true(state, "Paused");
    x->running = is_true(state, "Running");
    x->removing = slice_eqs(get_slice(state, "Status"), "removing");
    o->message = bounded(get_slice(state, "Status"), x->field[1]);
    o->exit_code = -1;
    (void)json_get_int(state, "ExitCode", &o->exit_code);
    bool failed = dead || (o->exit_code != 0 && o->exit_code != -1);
    if (x->restarting) {
        o->actual = ACTUAL_PENDING;
    } else if (x->paused) {
        o->actual = ACTUAL_STOPPED;
    } else if (x->running) {
        o->actual = ACTUAL_RUNNING;
        o->exit_code = -1;
        return;
    } else if (failed) {
        o->actual = ACTUAL_FAILED;
        if (dead)
            snprintf(x->message, sizeof(x->message), "dead%s%s", why[0] ? ": " : "", why);
        else
            snprintf(x->message, sizeof(x->message), "exited with code %" PRId64 "%s%s",
                     o->exit_code, why[0] ? ": " : "", why);
        o->message = x->message;
    } else {
        o->actual = ACTUAL_STOPPED;
        if (o->message[0] == '\0')
            o->message = "exited";
    }
    if (is_true(state, "OOMKilled"))
        o->cause = STOP_OOM;
    else if (failed && !x->paused)
        o->cause = STOP_CRASH;
}

static void meta_read(struct docker_object *x, const json_t *state)
{
    struct driver_object *o = &x->o;
    struct slice text = get_slice(state, "Error");
    snprintf(x->digits, sizeof(x->digits), "%.12s", o->object_id.p);
    docker_object_meta(x, "container.id", x->digits);
    docker_object_meta(x, "container.state", bounded(get_slice(state, "Status"), x->field[1]));
    docker_object_meta(x, "container.image", x->image);
    if (o->exit_code >= 0) {
        snprintf(x->exit_text, sizeof(x->exit_text), "%" PRId64, o->exit_code);
        docker_object_meta(x, "container.exit_code", x->exit_text);
    }
    if (o->started_ns != 0)
        docker_object_meta(x, "container.started_at", get_slice(state, "StartedAt").p);
    if (o->finished_ns != 0)
        docker_object_meta(x, "container.finished_at", get_slice(state, "FinishedAt").p);
    if (text.len > 0)
        docker_object_meta(x, "container.runtime_error", bounded(text, x->field[0]));
}

void docker_object_meta(struct docker_object *x, const char *key, const char *value)
{
    x->o.meta = x->meta;
    if (x->o.n_meta < DOCKER_META_MAX)
        x->meta[x->o.n_meta++] = (struct driver_meta){key, value};
}

static bool is_id(struct slice id)
{
    if (id.len != DOCKER_ID_DIGITS)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (!((id.p[i] >= '0' && id.p[i] <= '9') || (id.p[i] >= 'a' && id.p[i] <= 'f')))
            return false;
    return true;
}

int docker_object_read(const json_t *root, struct slice id, struct docker_object *x, struct err *e)
{
    const json_t *state = json_object_get(root, "State"), *config = json_object_get(root, "Config");
    const json_t *labels = json_object_get(config, "Labels");
    struct driver_object *o = &x->o;
    int64_t restarts = 0;
    struct slice cid = get_slice(root, "Id");
    if (!is_id(cid) || !json_is_object(state))
        return err_set(e, ERR_RUNTIME, "the Docker engine's answer about \"%.*s\" makes no sense",
                       (int)id.len, id.p);
    memset(x, 0, offsetof(struct docker_object, message));
    o->id = id;
    o->object_id = cid;
    o->revision = get_slice(labels, DOCKER_LABEL_REVISION);
    o->node_id = get_slice(labels, DOCKER_LABEL_NODE);
    o->print = get_slice(labels, DOCKER_LABEL_PRINT);
    x->ours = slice_eq(docker_labels_id(labels), id) && docker_object_named(root, id);
    x->tty = is_true(config, "Tty");
    x->image = bounded(get_slice(config, "Image"), x->field[2]);
    o->created_ns = docker_time_ns(get_slice(root, "Created"));
    o->started_ns = docker_time_ns(get_slice(state, "StartedAt"));
    o->finished_ns = docker_time_ns(get_slice(state, "FinishedAt"));
    if (json_get_int(root, "RestartCount", &restarts) && restarts > 0)
        o->restarts = restarts < UINT32_MAX ? (uint32_t)restarts : UINT32_MAX;
    o->address = address_of(root);
    state_read(x, state);
    if (o->actual == ACTUAL_RUNNING)
        o->health = health_of(state);
    meta_read(x, state);
    x->wants_stderr = o->actual == ACTUAL_FAILED && !x->tty && o->started_ns != 0;
    return 0;
}

int docker_object_foreign(const struct docker_object *x, struct slice id, struct fault *f)
{
    return fault_set(f, FAULT_RUNTIME_ERROR, ERR_EXISTS,
                     "container name \"%.*s\" is already in use (container %s of image \"%.200s\" "
                     "is not managed by this agent)",
                     (int)id.len, id.p, x->digits, x->image);
}

/* ---- copies */

struct packer {
    char *at;
};

static struct slice pack(struct packer *p, struct slice s)
{
    char *to = p->at;
    if (s.len > 0)
        memcpy(to, s.p, s.len);
    to[s.len] = '\0';
    p->at += s.len + 1;
    return (struct slice){to, s.len};
}

static size_t packed_size(const struct driver_object *o)
{
    size_t n = o->id.len + o->revision.len + o->object_id.len + o->node_id.len + o->print.len + 5;
    n += slice_of(o->message).len + slice_of(o->address).len + 2;
    for (size_t i = 0; i < o->n_meta; i++)
        n += strlen(o->meta[i].value) + 1;
    return n;
}

struct driver_object *docker_object_copy(const struct driver_object *o)
{
    struct copy {
        struct driver_object o;
        struct driver_meta meta[];
    };
    struct copy *c =
        mem_alloc(sizeof(*c) + o->n_meta * sizeof(struct driver_meta) + packed_size(o));
    if (c == NULL)
        return NULL;
    struct packer p = {(char *)(c->meta + o->n_meta)};
    c->o = *o;
    c->o.id = pack(&p, o->id);
    c->o.revision = pack(&p, o->revision);
    c->o.object_id = pack(&p, o->object_id);
    c->o.node_id = pack(&p, o->node_id);
    c->o.print = pack(&p, o->print);
    c->o.message = pack(&p, slice_of(o->message)).p;
    c->o.address = pack(&p, slice_of(o->address)).p;
    for (size_t i = 0; i < o->n_meta; i++)
        c->meta[i] = (struct driver_meta){o->meta[i].key, pack(&p, slice_of(o->meta[i].value)).p};
    c->o.meta = c->meta;
    return &c->o;
}
