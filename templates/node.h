/* The syntax tree of a template. Nodes live in the template's arena and never change after the
 * parse, so that one template may be rendered again and again. */
#ifndef DECREE_TEMPLATES_NODE_H
#define DECREE_TEMPLATES_NODE_H

#include "arena.h"
#include "buf.h"
#include "hmap.h"
#include "template.h"

struct function;

enum node_kind {
    NODE_TEXT,
    NODE_ACTION,
    NODE_IF,
    NODE_RANGE,
    NODE_WITH,
    NODE_TEMPLATE,
    NODE_BREAK,
    NODE_CONTINUE,
    NODE_PIPE,
    NODE_COMMAND,
    NODE_FIELD,      /* .A.B */
    NODE_VARIABLE,   /* $x.A.B; the first name keeps its $ */
    NODE_CHAIN,      /* (pipeline).A.B or function.A.B */
    NODE_IDENTIFIER, /* a function */
    NODE_DOT,
    NODE_NIL,
    NODE_BOOL,
    NODE_NUMBER,
    NODE_STRING,
    NODE_END,  /* only while parsing */
    NODE_ELSE, /* only while parsing */
};

struct node_list {
    struct node *first, *last; /* linked by next */
    size_t n;
};

/* A literal that fits each of the kinds that are set. */
struct node_number {
    struct bytes text;
    int64_t i;
    double f;
    bool is_int, is_float;
    bool is_float_form; /* written as a float: without a wanted type it is one */
    bool overflows_int; /* fits only uint64 */
};

struct node_branch {
    struct node *pipe;
    struct node_list list;
    struct node_list else_list;
    bool has_else;
    bool else_chained; /* else_list is one node, of an `else if` or `else with` */
};

struct node {
    enum node_kind kind;
    uint32_t line;
    size_t pos;        /* byte offset in the source */
    struct node *next; /* sibling in its list */
    union {
        struct bytes text;         /* TEXT */
        struct node *pipe;         /* ACTION */
        struct node_branch branch; /* IF, RANGE, WITH */
        struct {
            struct bytes name;
            struct node *pipe; /* NULL: dot is nil */
        } call;                /* TEMPLATE */
        struct {
            struct node_list decl; /* variables */
            struct node_list commands;
            bool is_assign;    /* = rather than := */
        } pipeline;            /* PIPE */
        struct node_list args; /* COMMAND; the first is the operand or function */
        struct {
            struct node *base;   /* CHAIN */
            struct bytes *names; /* VARIABLE: the first one is the variable itself */
            size_t n_names;
        } path; /* FIELD, VARIABLE, CHAIN */
        struct {
            struct bytes name;
            const struct function *function;
        } ident;                   /* IDENTIFIER */
        bool truth;                /* BOOL */
        struct node_number number; /* NUMBER */
        struct {
            struct bytes quoted, value;
        } string; /* STRING */
    } u;
};

/* One {{define}} or {{block}}, or the file itself. */
struct definition {
    struct hmap_node by_name;
    struct definition *next; /* in order of the source, for the lint */
    struct bytes name;
    struct node_list body;
};

struct template
{
    struct arena arena;  /* all of the template, itself excepted */
    const char *name;    /* arena */
    struct bytes source; /* arena */
    enum template_dialect dialect;
    struct hmap definitions; /* struct definition by name */
    struct definition *first;
    struct definition *root; /* what a render starts with */
};

/* How messages write a node: the source in its normal form. */
void node_describe(const struct node *n, struct strbuf *out);
/* Line from 1 and byte column from 0 of an offset. */
void template_locate(const struct template *t, size_t pos, size_t *ret_line, size_t *ret_col);
/* NULL when there is no such definition. */
struct definition *template_lookup(const struct template *t, struct bytes name);

#endif
