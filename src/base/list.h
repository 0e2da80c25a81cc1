/* list.h: an intrusive doubly linked ring. The head is a node of its own; nothing is allocated.
 * struct thing { struct list_node link; ... };  CONTAINER_OF(node, struct thing, link) */
#ifndef GANTRY_LIST_H
#define GANTRY_LIST_H

#include "base/base.h"

struct list_node {
    struct list_node *prev, *next;
};

static inline void list_init(struct list_node *n)
{
    n->prev = n->next = n;
}
static inline bool list_empty(const struct list_node *head)
{
    return head->next == head;
}
static inline void list_add_before(struct list_node *at, struct list_node *n)
{
    n->prev = at->prev;
    n->next = at;
    at->prev->next = n;
    at->prev = n;
}
static inline void list_push_back(struct list_node *head, struct list_node *n)
{
    list_add_before(head, n);
}
static inline void list_push_front(struct list_node *head, struct list_node *n)
{
    list_add_before(head->next, n);
}
/* Safe on a node that is not in a list, if it was initialised. */
static inline void list_remove(struct list_node *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}
static inline struct list_node *list_first(struct list_node *head)
{
    return list_empty(head) ? NULL : head->next;
}

#define LIST_FOR(it, head) for (struct list_node *it = (head)->next; it != (head); it = it->next)
/* `it` may be removed (and freed) in the body; no other node may be. */
#define LIST_FOR_SAFE(it, head)                                                                    \
    for (struct list_node *it = (head)->next, *it##_next = it->next; it != (head);                 \
         it = it##_next, it##_next = it->next)

#endif
