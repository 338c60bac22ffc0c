/* What templates can call: builtins of the language, the functions of a dialect, and methods of
 * values. A signature is written with one letter for each parameter:
 *     s string   i int   a interface{}   v anything, missing included
 *     S []string   L list to join   P []KVPair   d time.Duration   t time.Time
 * and a '.' behind the last one when any number of them may come. */
#ifndef DECREE_TEMPLATES_FUNCTION_H
#define DECREE_TEMPLATES_FUNCTION_H

#include "render.h"

struct call {
    const struct value *self; /* the receiver of a method, else NULL */
    const struct value *args; /* checked against the signature */
    size_t n;
};

enum function_special {
    FUNCTION_PLAIN,
    FUNCTION_AND, /* evaluated argument by argument, up to the one that decides */
    FUNCTION_OR,
};

struct function {
    const char *name;
    const char *params;
    /* Yields ret; false after call_fail. NULL for the special ones. */
    bool (*run)(struct render *r, const struct call *c, struct value *ret);
    enum function_special special;
};

/* A table ends with a row without a name. */
extern const struct function functions_builtin[];
extern const struct function functions_confd[];
extern const struct function functions_keys[];

/* The functions of a dialect, the builtins among them; NULL when there is none of that name. */
const struct function *function_find_confd(struct bytes name);
const struct function *function_find_builtin(struct bytes name);
/* NULL when values of that type have no such method. */
const struct function *method_find(enum value_type type, struct bytes name);

/* The letter's type as messages call it. */
const char *param_type_name(char letter);
/* Whether a value of that type may be passed for the letter. */
bool param_accepts(char letter, enum value_type type);
/* Whether nil may be passed for the letter. */
bool param_can_be_nil(char letter);

/* function_compare.c */
bool function_eq(struct render *r, const struct call *c, struct value *ret);
bool function_ne(struct render *r, const struct call *c, struct value *ret);
bool function_lt(struct render *r, const struct call *c, struct value *ret);
bool function_le(struct render *r, const struct call *c, struct value *ret);
bool function_gt(struct render *r, const struct call *c, struct value *ret);
bool function_ge(struct render *r, const struct call *c, struct value *ret);

/* function_escape.c */
bool function_html(struct render *r, const struct call *c, struct value *ret);
bool function_js(struct render *r, const struct call *c, struct value *ret);
bool function_urlquery(struct render *r, const struct call *c, struct value *ret);

/* function_codec.c */
bool function_json(struct render *r, const struct call *c, struct value *ret);
bool function_json_array(struct render *r, const struct call *c, struct value *ret);
bool function_base64_encode(struct render *r, const struct call *c, struct value *ret);
bool function_base64_decode(struct render *r, const struct call *c, struct value *ret);

#endif
