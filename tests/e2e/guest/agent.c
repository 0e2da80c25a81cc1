/* A port of the virtio console on which libvirt expects qemu's guest agent, and what that answers:
 * one JSON object a line. Of requests it looks at the name, and at the number of a sync. */
#include "guest.h"

enum { PORT = 1, LINE = 1024, ANSWER = 2048 };
enum { DEVICE_READY = 0, PORT_ADD = 1, PORT_READY = 3, PORT_OPEN = 6, PORT_NAME = 7 };

struct control {
    uint32_t id;
    uint16_t event, value;
    char name[120]; /* of PORT_NAME */
};

static struct virtio v;
static struct queue told, telling; /* of control */
static struct queue first_in, first_out, in, out;
static struct control heard[2], order[RING];
static char piece[256], line[LINE], answer[ANSWER];
static size_t line_len;
static uint16_t n_orders;
static uint32_t asked; /* for addresses: so many times */
static bool present, open, sending;

static void tell(uint32_t id, uint16_t event, uint16_t value)
{
    uint16_t n = n_orders++ % RING; /* so many are never under way */
    order[n] = (struct control){.id = id, .event = event, .value = value};
    queue_set(&telling, n, &order[n], 8, false, false);
    queue_offer(&telling, n);
}

static void port_named(uint32_t id, const char *name)
{
    if (!text_is(name, "org.qemu.guest_agent.0") || id != PORT || open)
        return;
    queue_set(&in, 0, piece, sizeof(piece), true, false);
    queue_offer(&in, 0);
    tell(id, PORT_OPEN, 1);
    open = true;
}

static void hear(struct control *c, uint32_t len)
{
    c->name[len > 8 && len < sizeof(*c) ? len - 8 : 0] = '\0';
    if (c->event == PORT_ADD)
        tell(c->id, PORT_READY, 1);
    else if (c->event == PORT_NAME)
        port_named(c->id, c->name);
}

/* libvirt's one channel is port 1; its queues must be there before the device is ready. */
void agent_found(uint32_t device)
{
    const uint32_t multiport = 1u << 1;
    if (present || !virtio_begin(&v, device, multiport))
        return;
    virtio_queue(&v, &first_in, 0);
    virtio_queue(&v, &first_out, 1);
    virtio_queue(&v, &told, 2);
    virtio_queue(&v, &telling, 3);
    virtio_queue(&v, &in, 4);
    virtio_queue(&v, &out, 5);
    virtio_ready(&v);
    for (uint16_t i = 0; i < 2; i++) {
        queue_set(&told, i, &heard[i], sizeof(heard[i]), true, false);
        queue_offer(&told, i);
    }
    present = true;
    tell(0, DEVICE_READY, 1);
}

/* ---- what is asked */

static void put_interface(struct text *t)
{
    const uint8_t *mac = net_mac(), *a = net_address();
    put(t, "{\"name\":\"eth0\",\"hardware-address\":\"");
    for (int i = 0; i < 6; i++) {
        put(t, i > 0 ? ":" : "");
        put_hex(t, mac[i]);
    }
    put(t, "\",\"ip-addresses\":[");
    if (a != NULL) {
        put(t, "{\"ip-address-type\":\"ipv4\",\"ip-address\":\"");
        put_address(t, a);
        put(t, "\",\"prefix\":24},");
    }
    put(t, "{\"ip-address-type\":\"ipv6\",\"ip-address\":\"fe80::1\",\"prefix\":64}]}");
}

/* Its digits as they are: numbers of libvirt's syncs have more than 32 bits. */
static void put_number_of(struct text *t, const char *s, const char *key)
{
    const char *at = text_find(s, key);
    for (at = at != NULL ? at + text_len(key) : "0"; *at == ' ' || *at == ':'; at++)
        continue;
    for (; *at >= '0' && *at <= '9'; at++) {
        const char one[2] = {*at, '\0'};
        put(t, one);
    }
}

static bool asks(const char *name)
{
    return text_find(line, name) != NULL;
}

static void reply(void)
{
    struct text t = {answer, 0, sizeof(answer)};
    bool delimited = asks("\"guest-sync-delimited\"");
    if (delimited || asks("\"guest-sync\"")) {
        put(&t, delimited ? "\xff{\"return\":" : "{\"return\":");
        put_number_of(&t, line, "\"id\"");
        put(&t, "}\n");
    } else if (asks("\"guest-network-get-interfaces\"")) {
        asked++;
        put(&t, "{\"return\":[{\"name\":\"lo\",\"ip-addresses\":[{\"ip-address-type\":\"ipv4\","
                "\"ip-address\":\"127.0.0.1\",\"prefix\":8}]},");
        put_interface(&t);
        put(&t, "]}\n");
    } else if (asks("\"guest-ping\"")) {
        put(&t, "{\"return\":{}}\n");
    } else {
        put(&t, "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"this guest does not know "
                "that\"}}\n");
    }
    queue_set(&out, 0, answer, (uint32_t)t.len, false, false);
    queue_offer(&out, 0);
    sending = true;
}

/* The answer before is on its way at least: it has been seen, or nobody would ask again. */
static void wait_sent(void)
{
    uint16_t n;
    uint32_t len;
    while (sending)
        sending = !queue_take(&out, &n, &len);
}

static void take(uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        if (piece[i] == '\n') {
            line[line_len] = '\0';
            line_len = 0;
            wait_sent();
            reply();
        } else if (line_len + 1 < LINE && (unsigned char)piece[i] != 0xff) {
            line[line_len++] = piece[i];
        }
    }
}

void agent_poll(void)
{
    uint16_t n;
    uint32_t len;
    if (!present)
        return;
    while (queue_take(&told, &n, &len)) {
        hear(&heard[n], len);
        queue_set(&told, n, &heard[n], sizeof(heard[n]), true, false);
        queue_offer(&told, n);
    }
    while (queue_take(&telling, &n, &len))
        continue;
    while (open && queue_take(&in, &n, &len)) {
        take(len);
        queue_offer(&in, 0);
    }
}

void agent_tell(struct text *t)
{
    if (!open)
        return;
    put(t, " agent asked ");
    put_number(t, asked);
}
