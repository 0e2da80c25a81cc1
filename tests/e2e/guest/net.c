/* A network card, and an address by DHCP (RFC 2131, 2132) over it. */
#include "guest.h"

enum { PACKET = 1526, ROOM = 4, HEAD = 12, ETHERNET = 14, IP = 20, UDP = 8, AGAIN = 100 };
enum { BOOTP = HEAD + ETHERNET + IP + UDP, OPTIONS = BOOTP + 240 };
enum { DISCOVER = 1, OFFER = 2, REQUEST = 3, ACK = 5, NAK = 6 };

static struct virtio v;
static struct queue in, out;
static uint8_t received[ROOM][PACKET], sent[PACKET];
static uint8_t mac[6], address[4], offered[4], server[4];
static uint32_t asked; /* when */
static bool present, dhcp, has, sending;
static uint8_t asking; /* DISCOVER or REQUEST; 0: nothing */

static void put16(uint8_t *p, uint32_t n)
{
    p[0] = (uint8_t)(n >> 8);
    p[1] = (uint8_t)n;
}

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static void seal_ip(uint8_t *ip)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < IP; i += 2)
        sum += get16(ip + i);
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16);
    put16(ip + 10, ~sum);
}

static size_t add(size_t at, uint8_t option, const void *value, uint8_t len)
{
    sent[at] = option;
    sent[at + 1] = len;
    memcpy(sent + at + 2, value, len);
    return at + 2 + len;
}

/* Ethernet, IP and UDP around what is in place already. */
static void send(size_t len)
{
    uint8_t *ethernet = sent + HEAD, *ip = ethernet + ETHERNET, *udp = ip + IP;
    memset(ethernet, 255, 6);
    memcpy(ethernet + 6, mac, 6);
    put16(ethernet + 12, 0x800);
    ip[0] = 0x45;
    put16(ip + 2, (uint32_t)len - HEAD - ETHERNET);
    ip[8] = 64;
    ip[9] = 17;
    memset(ip + 16, 255, 4);
    seal_ip(ip);
    put16(udp, 68);
    put16(udp + 2, 67);
    put16(udp + 4, (uint32_t)len - HEAD - ETHERNET - IP);
    queue_set(&out, 0, sent, (uint32_t)len, false, false);
    queue_offer(&out, 0);
    sending = true;
}

static void ask(uint8_t what)
{
    uint8_t *b = sent + BOOTP;
    if (sending)
        return;
    memset(sent, 0, sizeof(sent));
    b[0] = 1;
    b[1] = 1;
    b[2] = 6;
    memcpy(b + 4, mac + 2, 4); /* as good a number as any */
    b[10] = 0x80;              /* by broadcast: it has no address to answer to */
    memcpy(b + 28, mac, 6);
    memcpy(b + 236, "\x63\x82\x53\x63", 4);
    size_t at = add(OPTIONS, 53, &what, 1);
    if (what == REQUEST) {
        at = add(at, 50, offered, 4);
        at = add(at, 54, server, 4);
    }
    at = add(at, 12, (const char *)word.name, (uint8_t)text_len((const char *)word.name));
    sent[at++] = 255;
    send(at < BOOTP + 300 ? BOOTP + 300 : at);
    asking = what;
    asked = ticks;
}

/* The value of an option of `len` bytes; NULL: it is not there. */
static const uint8_t *option_of(const uint8_t *p, size_t size, uint8_t option, uint8_t len)
{
    for (size_t at = OPTIONS; at + 1 < size && p[at] != 255;) {
        if (p[at] == 0) {
            at++;
            continue;
        }
        if (p[at] == option && p[at + 1] == len && at + 2 + len <= size)
            return p + at + 2;
        at += 2u + p[at + 1];
    }
    return NULL;
}

static void hear(const uint8_t *p, size_t size)
{
    const uint8_t *b = p + BOOTP, *kind, *from;
    if (size < OPTIONS || get16(p + HEAD + 12) != 0x800 || p[HEAD + ETHERNET + 9] != 17 ||
        get16(p + HEAD + ETHERNET + IP + 2) != 68 || b[0] != 2)
        return;
    for (size_t i = 0; i < 4; i++)
        if (b[4 + i] != mac[2 + i])
            return;
    kind = option_of(p, size, 53, 1);
    from = option_of(p, size, 54, 4);
    if (kind == NULL || from == NULL)
        return;
    if (*kind == OFFER && asking == DISCOVER) {
        memcpy(offered, b + 16, 4);
        memcpy(server, from, 4);
        asking = REQUEST;
        asked = ticks - AGAIN; /* at once */
    } else if (*kind == ACK && asking == REQUEST) {
        memcpy(address, b + 16, 4);
        has = true;
        asking = 0;
    } else if (*kind == NAK) {
        asking = DISCOVER;
    }
}

static bool parse_address(const char *s)
{
    uint32_t n = 0, parts = 0;
    for (;; s++) {
        if (*s >= '0' && *s <= '9') {
            n = n * 10 + (uint32_t)(*s - '0');
            continue;
        }
        address[parts++] = (uint8_t)n;
        n = 0;
        if (*s != '.' || parts == 4)
            return *s == '\0' && parts == 4;
    }
}

void net_found(uint32_t device)
{
    const uint32_t has_mac = 1u << 5;
    if (present || !virtio_begin(&v, device, has_mac))
        return;
    for (size_t i = 0; i < sizeof(mac); i++)
        mac[i] = v.config[i];
    virtio_queue(&v, &in, 0);
    virtio_queue(&v, &out, 1);
    virtio_ready(&v);
    for (uint16_t i = 0; i < ROOM; i++) {
        queue_set(&in, i, received[i], PACKET, true, false);
        queue_offer(&in, i);
    }
    present = true;
    dhcp = text_is((const char *)word.address, "dhcp");
    has = !dhcp && parse_address((const char *)word.address);
    asking = dhcp ? DISCOVER : 0;
    asked = ticks - AGAIN;
}

void net_poll(void)
{
    uint16_t n;
    uint32_t len;
    if (!present)
        return;
    if (queue_take(&out, &n, &len))
        sending = false;
    while (queue_take(&in, &n, &len)) {
        hear(received[n], len);
        queue_offer(&in, n);
    }
    if (asking != 0 && ticks - asked >= AGAIN)
        ask(asking);
}

const uint8_t *net_address(void)
{
    return has ? address : NULL;
}

const uint8_t *net_mac(void)
{
    return mac;
}

void net_tell(struct text *t)
{
    if (!present)
        return;
    put(t, " address ");
    if (has)
        put_address(t, address);
    else
        put(t, "none");
}
