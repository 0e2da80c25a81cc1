/* Rules of the fake runtime: which calls are slow or fail, and how objects live. */
#include "driver/fake/fake_priv.h"

bool fake_matches(const char *pattern, const char *id)
{
    if (pattern == NULL)
        return true;
    size_t n = strlen(pattern);
    return n > 0 && pattern[n - 1] == '*' ? strncmp(pattern, id, n - 1) == 0
                                          : strcmp(pattern, id) == 0;
}

int fake_rule(struct fake *f, const struct fake_rule *r)
{
    struct rule *x = mem_zalloc(sizeof(*x));
    if (x == NULL)
        return ERR_NO_MEMORY;
    x->r = *r;
    if (r->id != NULL && (x->id = mem_strdup(r->id)) == NULL) {
        mem_free(x);
        return ERR_NO_MEMORY;
    }
    list_push_front(&f->rules, &x->link);
    return 0;
}

int fake_life(struct fake *f, const struct fake_life *l)
{
    struct life *x = mem_zalloc(sizeof(*x));
    if (x == NULL)
        return ERR_NO_MEMORY;
    x->l = *l;
    if (l->id != NULL && (x->id = mem_strdup(l->id)) == NULL) {
        mem_free(x);
        return ERR_NO_MEMORY;
    }
    list_push_front(&f->lives, &x->link);
    return 0;
}

void rules_free_all(struct list_node *rules)
{
    LIST_FOR_SAFE (n, rules) {
        struct rule *x = CONTAINER_OF(n, struct rule, link);
        list_remove(n);
        mem_free(x->id);
        mem_free(x);
    }
}

void lives_free_all(struct list_node *lives)
{
    LIST_FOR_SAFE (n, lives) {
        struct life *x = CONTAINER_OF(n, struct life, link);
        list_remove(n);
        mem_free(x->id);
        mem_free(x);
    }
}

void fake_clear_rules(struct fake *f)
{
    rules_free_all(&f->rules);
}

void fake_clear_lives(struct fake *f)
{
    lives_free_all(&f->lives);
}

bool fake_ruled(struct fake *f, enum fake_op op, const char *id, struct fake_rule *ret)
{
    LIST_FOR (n, &f->rules) {
        struct rule *x = CONTAINER_OF(n, struct rule, link);
        if ((x->r.ops & (unsigned)op) == 0 || !fake_matches(x->id, id))
            continue;
        x->fits++;
        if ((x->r.nth != 0 && x->fits != x->r.nth) ||
            (x->r.times != 0 && x->applied >= x->r.times) ||
            (x->r.percent != 0 && fake_random(f) % 100 >= x->r.percent))
            continue;
        x->applied++;
        *ret = x->r;
        return true;
    }
    return false;
}

bool fake_life_of(struct fake *f, const char *id, struct fake_life *ret)
{
    LIST_FOR (n, &f->lives) {
        struct life *x = CONTAINER_OF(n, struct life, link);
        if (!fake_matches(x->id, id) || (x->l.times != 0 && x->applied >= x->l.times))
            continue;
        x->applied++;
        *ret = x->l;
        return true;
    }
    return false;
}
