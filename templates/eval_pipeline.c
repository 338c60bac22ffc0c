/* Values: variables, arguments, calls, fields and pipelines. r->at follows what is being evaluated
 * as Go's interpreter does it, so that messages name the same place. */
#include "eval.h"

#include "function.h"
#include "gotext.h"

/* The operands of a command: those written, and the value of the command before it. */
struct operands {
    const struct node *first;  /* the function or operand itself; NULL when it stands alone */
    size_t n;                  /* with it */
    const struct value *final; /* NULL when nothing is piped in */
};

static bool eval_arg(
    struct render *r, const struct value *dot, char param, const struct node *n, struct value *ret);

bool eval_step(struct render *r)
{
    return render_steps_left(r, 1) || render_fail(r, "%s", strbuf_cstr(&r->call_error));
}

bool eval_enter(struct render *r)
{
    r->depth++; /* the caller takes it back, after a failure as well */
    if (r->depth > EVAL_DEPTH_MAX) {
        return render_fail(r, "exceeded maximum depth (%d)", EVAL_DEPTH_MAX);
    }
    return eval_step(r);
}

/* A byte string for a message, which ends at a NUL. */
#define BYTES_ARG(b) (int)MIN((b).len, (size_t)1024), (const char *)(b).data

/* ---- variables ---- */

void eval_push(struct render *r, struct bytes name, const struct value *v)
{
    if (r->n_vars == r->cap_vars) {
        r->cap_vars = MAX(r->cap_vars * 2, (size_t)16);
        r->vars = xreallocarray(r->vars, r->cap_vars, sizeof(*r->vars));
    }
    r->vars[r->n_vars++] = (struct variable){.name = name, .value = *v};
}

/* The innermost variable of that name in the running definition. */
static struct variable *find_variable(struct render *r, struct bytes name)
{
    for (size_t i = r->n_vars; i > r->vars_base; i--) {
        if (bytes_eq(r->vars[i - 1].name, name)) {
            return &r->vars[i - 1];
        }
    }
    return NULL;
}

bool eval_assign(struct render *r, struct bytes name, const struct value *v)
{
    struct variable *var = find_variable(r, name);

    if (var == NULL) {
        return render_fail(r, "undefined variable: %.*s", BYTES_ARG(name));
    }
    var->value = *v;
    return true;
}

/* ---- arguments ---- */

static bool check_type(struct render *r, char param, struct value *v)
{
    if (v->type == VALUE_NONE && param != 0) {
        if (!param_can_be_nil(param)) {
            return render_fail(r, "invalid value; expected %s", param_type_name(param));
        }
        if (param == 'a') {
            v->type = VALUE_NIL;
        } else if (param != 'v') {
            static struct value_list empty;

            v->type = param == 'P' ? VALUE_PAIR_LIST : VALUE_STRINGS;
            v->u.list = &empty;
        }
        return true;
    }
    if (param != 0 && !param_accepts(param, v->type)) {
        return render_fail(r, "wrong type for value; expected %s; got %s", param_type_name(param),
            value_type_name(v->type));
    }
    if (param != 0) {
        v->boxed = false;
    }
    return true;
}

static bool number_value(struct render *r, const struct node *n, struct value *ret)
{
    const struct node_number *num = &n->u.number;

    r->at = n;
    if (num->is_float_form) {
        *ret = value_float(num->f);
    } else if (num->is_int) {
        *ret = value_int(num->i);
    } else {
        return render_fail(r, "%.*s overflows int", BYTES_ARG(num->text));
    }
    return true;
}

/* A literal where the parameter's type is known. */
static bool literal_arg(struct render *r, char param, const struct node *n, struct value *ret)
{
    _cleanup_strbuf_ struct strbuf text = {0};
    const char *wanted;

    switch (param) {
    case 's':
        wanted = "string";
        if (n->kind == NODE_STRING) {
            *ret = value_string(n->u.string.value);
            return true;
        }
        break;
    case 'i':
    case 'd':
        wanted = "integer";
        if (n->kind == NODE_NUMBER && n->u.number.is_int) {
            *ret = value_typed_int(param == 'd' ? VALUE_DURATION : VALUE_INT, n->u.number.i);
            return true;
        }
        break;
    default:
        node_describe(n, &text);
        return render_fail(
            r, "can't handle %s for arg of type %s", strbuf_cstr(&text), param_type_name(param));
    }
    node_describe(n, &text);
    return render_fail(r, "expected %s; found %s", wanted, strbuf_cstr(&text));
}

static bool untyped_literal(struct render *r, const struct node *n, struct value *ret)
{
    switch (n->kind) {
    case NODE_BOOL:
        *ret = value_bool(n->u.truth);
        return true;
    case NODE_STRING:
        *ret = value_string(n->u.string.value);
        return true;
    default:
        return number_value(r, n, ret);
    }
}

/* ---- calls ---- */

static size_t fixed_params(const struct function *fn, bool *ret_variadic)
{
    size_t n = strlen(fn->params);

    *ret_variadic = n > 0 && fn->params[n - 1] == '.';
    return *ret_variadic ? n - 2 : n;
}

static char param_at(const struct function *fn, size_t i, size_t n_fixed)
{
    return fn->params[MIN(i, n_fixed)];
}

static bool check_count(struct render *r, const struct function *fn, size_t given,
    const struct value *final, size_t n_fixed, bool variadic)
{
    size_t all = given + (final != NULL ? 1 : 0);

    if (variadic && all < n_fixed) {
        return render_fail(
            r, "wrong number of args for %s: want at least %zu got %zu", fn->name, n_fixed, given);
    }
    if (!variadic && all != n_fixed) {
        return render_fail(
            r, "wrong number of args for %s: want %zu got %zu", fn->name, n_fixed, all);
    }
    return true;
}

/* and, or: the operand that decides, or the last one; those behind it are never evaluated. */
static bool eval_logic(struct render *r, const struct value *dot, const struct function *fn,
    const struct node *arg, const struct value *final, struct value *ret)
{
    *ret = value_none();
    for (; arg != NULL; arg = arg->next) {
        if (!eval_arg(r, dot, 'v', arg, ret)) {
            return false;
        }
        if (value_truth(ret) == (fn->special == FUNCTION_OR)) {
            return true;
        }
    }
    if (final != NULL) {
        *ret = *final;
    }
    return true;
}

/* What reading the arguments costs: a loop over long strings is work, however few its nodes. */
static uint64_t call_steps(const struct call *call)
{
    enum { BYTES_PER_STEP = 256 };
    uint64_t steps = 0;

    for (size_t i = 0; i < call->n; i++) {
        steps += call->args[i].type == VALUE_STRING ? call->args[i].u.s.len / BYTES_PER_STEP : 0;
    }
    return steps;
}

static bool run_function(struct render *r, const struct function *fn, const struct call *call,
    const struct node *where, struct value *ret)
{
    const struct node *at = r->at;

    r->at = where;
    strbuf_clear(&r->scratch);
    if (!render_steps_left(r, call_steps(call)) || !fn->run(r, call, ret)) {
        return render_fail(r, "error calling %s: %s", fn->name, strbuf_cstr(&r->call_error));
    }
    r->at = at;
    return true;
}

/* Calls fn with the operands behind ops->first. where: the node that messages name. */
static bool eval_call(struct render *r, const struct value *dot, const struct function *fn,
    const struct value *self, const struct node *where, const struct operands *ops,
    struct value *ret)
{
    enum { FEW_ARGS = 4 };
    const struct node *arg = ops->first != NULL ? ops->first->next : NULL;
    size_t given = ops->n > 0 ? ops->n - 1 : 0, i = 0, n_fixed;
    struct call call = {.self = self, .n = given + (ops->final != NULL ? 1 : 0)};
    struct value few[FEW_ARGS], *args = few;
    bool variadic;

    n_fixed = fixed_params(fn, &variadic);
    if (!check_count(r, fn, given, ops->final, n_fixed, variadic)) {
        return false;
    }
    if (fn->special != FUNCTION_PLAIN) {
        return eval_logic(r, dot, fn, arg, ops->final, ret);
    }
    if (call.n > FEW_ARGS) {
        args = arena_calloc(&r->arena, call.n, sizeof(*args));
        if (args == NULL) {
            (void)call_fail_memory(r);
            return render_fail(r, "%s", strbuf_cstr(&r->call_error));
        }
    }
    for (; arg != NULL; arg = arg->next, i++) {
        if (!eval_arg(r, dot, param_at(fn, i, n_fixed), arg, &args[i])) {
            return false;
        }
    }
    if (ops->final != NULL) {
        args[i] = *ops->final;
        if (!check_type(r, param_at(fn, i, n_fixed), &args[i])) {
            return false;
        }
    }
    call.args = args;
    return run_function(r, fn, &call, where, ret);
}

/* ---- fields ---- */

static bool pair_field(const struct value *v, struct bytes name, struct value *ret)
{
    if (bytes_eq(name, BYTES_LITERAL("Key"))) {
        *ret = value_string(v->u.pair->key);
        return true;
    }
    if (bytes_eq(name, BYTES_LITERAL("Value"))) {
        *ret = value_string(v->u.pair->value);
        return true;
    }
    return false;
}

/* One step along .A.B: a method, a field of a struct, or an entry of a map. */
static bool eval_field(struct render *r, const struct value *dot, const struct value *receiver,
    struct bytes name, const struct node *where, const struct operands *ops, struct value *ret)
{
    const struct value v = *receiver;
    const char *type = v.boxed ? value_type_name(VALUE_NIL) : value_type_name(v.type);
    bool has_args = ops->n > 1 || ops->final != NULL;
    const struct function *method;
    const struct value *found;

    if (v.type == VALUE_NONE) {
        *ret = v; /* a path through what is missing stays missing, silently */
        return true;
    }
    if (v.type == VALUE_NIL) {
        return render_fail(r, "nil pointer evaluating %s.%.*s", type, BYTES_ARG(name));
    }
    method = method_find(v.type, name);
    if (method != NULL) {
        return eval_call(r, dot, method, &v, where, ops, ret);
    }
    if (v.type == VALUE_PAIR && pair_field(&v, name, ret)) {
        return !has_args ||
            render_fail(r, "%.*s has arguments but cannot be invoked as function", BYTES_ARG(name));
    }
    if (value_kind(&v) != KIND_MAP) {
        return render_fail(r, "can't evaluate field %.*s in type %s", BYTES_ARG(name), type);
    }
    if (has_args) {
        return render_fail(r, "%.*s is not a method but has arguments", BYTES_ARG(name));
    }
    found = value_map_get(v.u.map, name);
    *ret = found != NULL ? *found : value_none();
    ret->boxed = v.type == VALUE_MAP;
    return true;
}

static bool eval_fields(struct render *r, const struct value *dot, const struct value *receiver,
    const struct node *n, size_t first_name, const struct operands *ops, struct value *ret)
{
    static const struct operands none = {0};
    struct value v = *receiver;

    for (size_t i = first_name; i < n->u.path.n_names; i++) {
        bool last = i + 1 == n->u.path.n_names;

        if (!eval_field(r, dot, &v, n->u.path.names[i], n, last ? ops : &none, &v)) {
            return false;
        }
    }
    *ret = v;
    return true;
}

static bool not_a_function(struct render *r, const struct operands *ops)
{
    _cleanup_strbuf_ struct strbuf text = {0};

    if (ops->n <= 1 && ops->final == NULL) {
        return true;
    }
    if (ops->first != NULL) {
        node_describe(ops->first, &text);
    }
    return render_fail(r, "can't give argument to non-function %s", strbuf_cstr(&text));
}

static bool eval_variable(struct render *r, const struct value *dot, const struct node *n,
    const struct operands *ops, struct value *ret)
{
    const struct variable *var = find_variable(r, n->u.path.names[0]);

    r->at = n;
    if (var == NULL) {
        return render_fail(r, "undefined variable: %.*s", BYTES_ARG(n->u.path.names[0]));
    }
    if (n->u.path.n_names == 1) {
        *ret = var->value;
        return not_a_function(r, ops);
    }
    return eval_fields(r, dot, &var->value, n, 1, ops, ret);
}

static bool eval_chain(struct render *r, const struct value *dot, const struct node *n,
    const struct operands *ops, struct value *ret)
{
    struct value base;

    r->at = n;
    if (!eval_arg(r, dot, 0, n->u.path.base, &base)) {
        return false;
    }
    return eval_fields(r, dot, &base, n, 0, ops, ret);
}

/* A node that names something: field, variable, chain or function. False: it is none of them. */
static bool is_reference(const struct node *n)
{
    return n->kind == NODE_FIELD || n->kind == NODE_VARIABLE || n->kind == NODE_CHAIN ||
        n->kind == NODE_IDENTIFIER;
}

static bool eval_reference(struct render *r, const struct value *dot, const struct node *n,
    const struct node *where, const struct operands *ops, struct value *ret)
{
    switch (n->kind) {
    case NODE_FIELD:
        r->at = n;
        return eval_fields(r, dot, dot, n, 0, ops, ret);
    case NODE_VARIABLE:
        return eval_variable(r, dot, n, ops, ret);
    case NODE_CHAIN:
        return eval_chain(r, dot, n, ops, ret);
    default:
        r->at = n;
        return eval_call(r, dot, n->u.ident.function, NULL, where, ops, ret);
    }
}

/* ---- pipelines ---- */

static bool eval_arg_inner(
    struct render *r, const struct value *dot, char param, const struct node *n, struct value *ret)
{
    static const struct operands none = {0};

    r->at = n;
    if (n->kind == NODE_DOT) {
        *ret = *dot;
    } else if (n->kind == NODE_NIL) {
        if (param == 0 || !param_can_be_nil(param)) {
            return render_fail(r, "cannot assign nil to %s", param_type_name(param));
        }
        *ret = value_none();
    } else if (n->kind == NODE_PIPE) {
        if (!eval_pipe(r, dot, n, ret)) {
            return false;
        }
    } else if (is_reference(n)) {
        if (!eval_reference(r, dot, n, n, &none, ret)) {
            return false;
        }
    } else if (param == 'a' || param == 'v' || param == 0) {
        return untyped_literal(r, n, ret);
    } else {
        return literal_arg(r, param, n, ret);
    }
    return check_type(r, param, ret);
}

/* One operand for a parameter; param 0 takes anything as it is. */
static bool eval_arg(
    struct render *r, const struct value *dot, char param, const struct node *n, struct value *ret)
{
    bool ok = eval_enter(r) && eval_arg_inner(r, dot, param, n, ret);

    r->depth--;
    return ok;
}

static bool eval_command(struct render *r, const struct value *dot, const struct node *cmd,
    const struct value *final, struct value *ret)
{
    const struct node *first = cmd->u.args.first;
    struct operands ops = {.first = first, .n = cmd->u.args.n, .final = final};

    if (is_reference(first)) {
        return eval_reference(
            r, dot, first, first->kind == NODE_IDENTIFIER ? cmd : first, &ops, ret);
    }
    if (first->kind == NODE_PIPE) {
        return not_a_function(r, &ops) && eval_pipe(r, dot, first, ret);
    }
    r->at = first;
    if (!not_a_function(r, &ops)) {
        return false;
    }
    switch (first->kind) {
    case NODE_DOT:
        *ret = *dot;
        return true;
    case NODE_NIL:
        return render_fail(r, "nil is not a command");
    default:
        return untyped_literal(r, first, ret);
    }
}

static bool declare(struct render *r, const struct node *pipe, const struct value *v)
{
    for (const struct node *d = pipe->u.pipeline.decl.first; d != NULL; d = d->next) {
        struct bytes name = d->u.path.names[0];

        if (!pipe->u.pipeline.is_assign) {
            eval_push(r, name, v);
        } else if (!eval_assign(r, name, v)) {
            return false;
        }
    }
    return true;
}

static bool eval_pipe_inner(
    struct render *r, const struct value *dot, const struct node *pipe, struct value *ret)
{
    struct value v = value_none();

    r->at = pipe;
    for (const struct node *c = pipe->u.pipeline.commands.first; c != NULL; c = c->next) {
        const struct value before = v;

        if (!eval_command(r, dot, c, c != pipe->u.pipeline.commands.first ? &before : NULL, &v)) {
            return false;
        }
        if (v.type == VALUE_NIL) {
            v.type = VALUE_NONE;
        }
        v.boxed = false;
    }
    *ret = v;
    return declare(r, pipe, &v);
}

/* Variables it declares stay on the stack: the caller pops them. */
bool eval_pipe(
    struct render *r, const struct value *dot, const struct node *pipe, struct value *ret)
{
    bool ok = eval_enter(r) && eval_pipe_inner(r, dot, pipe, ret);

    r->depth--;
    return ok;
}
