/* Ports, time, PCI, texts; and the course of it all. */
#include "guest.h"

enum { SERIAL = 0x3f8, POWER = 0x600, BUSES = 64 };

volatile uint32_t ticks;
const volatile struct guest_word word __attribute__((section(".data"))) = {.mark = GUEST_MARK};

extern void on_tick(void);

static struct {
    uint16_t low, selector, kind, high;
} __attribute__((packed)) gates[33];

uint8_t in8(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

void out8(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static uint16_t in16(uint16_t port)
{
    uint16_t v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static void out16(uint16_t port, uint16_t v)
{
    __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

static uint32_t in32(uint16_t port)
{
    uint32_t v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static void out32(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

/* ---- what the compiler asks for */

void *memcpy(void *to, const void *from, size_t n)
{
    void *ret = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    return ret;
}

void *memset(void *to, int c, size_t n)
{
    void *ret = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
    return ret;
}

/* ---- texts */

void say(const char *text)
{
    for (; *text != '\0'; text++) {
        while ((in8(SERIAL + 5) & 0x20) == 0)
            continue;
        out8(SERIAL, (uint8_t)*text);
    }
}

size_t text_len(const char *s)
{
    size_t n = 0;
    while (s[n] != '\0')
        n++;
    return n;
}

static bool begins(const char *s, const char *part)
{
    while (*part != '\0')
        if (*s++ != *part++)
            return false;
    return true;
}

bool text_is(const char *a, const char *b)
{
    return begins(a, b) && a[text_len(b)] == '\0';
}

const char *text_find(const char *s, const char *part)
{
    for (; *s != '\0'; s++)
        if (begins(s, part))
            return s;
    return NULL;
}

void put(struct text *t, const char *s)
{
    for (; *s != '\0' && t->len + 1 < t->size; s++)
        t->p[t->len++] = *s;
    t->p[t->len] = '\0';
}

void put_number(struct text *t, uint32_t v)
{
    char digits[11];
    char *at = &digits[10];
    *at = '\0';
    do {
        *--at = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    put(t, at);
}

void put_hex(struct text *t, uint8_t v)
{
    const char two[3] = {"0123456789abcdef"[v >> 4], "0123456789abcdef"[v & 15], '\0'};
    put(t, two);
}

void put_address(struct text *t, const uint8_t a[4])
{
    for (int i = 0; i < 4; i++) {
        put(t, i > 0 ? "." : "");
        put_number(t, a[i]);
    }
}

/* ---- the machine */

static void start_clock(void)
{
    const uint16_t steps = 1193182 / 100;
    uintptr_t to = (uintptr_t)on_tick;
    struct {
        uint16_t size;
        uint32_t at;
    } __attribute__((packed)) table = {sizeof(gates) - 1, (uint32_t)(uintptr_t)gates};
    gates[32].low = (uint16_t)to;
    gates[32].selector = 8;
    gates[32].kind = 0x8e00;
    gates[32].high = (uint16_t)(to >> 16);
    /* The timer's line alone, as interrupt 32. */
    static const struct {
        uint16_t port;
        uint8_t v;
    } setup[] = {{0x20, 0x11}, {0xa0, 0x11}, {0x21, 32}, {0xa1, 40},   {0x21, 4},
                 {0xa1, 2},    {0x21, 1},    {0xa1, 1},  {0x21, 0xfe}, {0xa1, 0xff}};
    for (size_t i = 0; i < sizeof(setup) / sizeof(setup[0]); i++)
        out8(setup[i].port, setup[i].v);
    out8(0x43, 0x34);
    out8(0x40, steps & 255);
    out8(0x40, steps >> 8);
    __asm__ volatile("lidt %0\n\tsti" : : "m"(table));
}

void machine_start(void)
{
    start_clock();
    out16(POWER + 2, 0x100); /* the button is to be told */
}

bool machine_button(void)
{
    bool pressed = (in16(POWER) & 0x100) != 0;
    if (pressed)
        out16(POWER, 0x100);
    return pressed;
}

void machine_off(void)
{
    out16(POWER + 4, 0x2000);
}

uint32_t pci_read(uint32_t device, uint32_t at)
{
    out32(0xcf8, device | (at & 0xfc));
    return in32(0xcfc) >> (at & 3) * 8;
}

void pci_write(uint32_t device, uint32_t at, uint32_t v)
{
    out32(0xcf8, device | at);
    out32(0xcfc, v);
}

void pci_each(void (*fn)(uint32_t device, uint32_t vendor_and_id))
{
    for (uint32_t n = 0; n < BUSES * 32; n++) {
        uint32_t device = 0x80000000u | n << 11, id = pci_read(device, 0);
        if (id != UINT32_MAX)
            fn(device, id);
    }
}

/* ---- the course */

static void found(uint32_t device, uint32_t id)
{
    if (id == 0x10411af4 || id == 0x10001af4)
        net_found(device);
    else if (id == 0x10421af4 || id == 0x10011af4)
        disk_found(device);
    else if (id == 0x10431af4 || id == 0x10031af4)
        agent_found(device);
}

static void tell(void)
{
    char room[256];
    struct text t = {room, 0, sizeof(room)};
    put(&t, (const char *)word.name);
    put(&t, ":");
    net_tell(&t);
    disk_tell(&t);
    agent_tell(&t);
    put(&t, "\r\n");
    say(room);
}

void guest_main(void);
void guest_main(void)
{
    uint32_t told = 0;
    machine_start();
    pci_each(found);
    tell();
    for (;;) {
        net_poll();
        agent_poll();
        if (machine_button()) {
            say("the button was pressed\r\n");
            machine_off();
        }
        if (ticks - told >= 100) {
            told = ticks;
            tell();
        }
        __asm__ volatile("hlt");
    }
}
