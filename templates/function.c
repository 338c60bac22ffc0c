#include "function.h"

static const struct function *find_in(const struct function *table, struct bytes name)
{
    for (const struct function *f = table; f->name != NULL; f++) {
        if (bytes_eq(name, bytes_str(f->name))) {
            return f;
        }
    }
    return NULL;
}

const struct function *function_find_builtin(struct bytes name)
{
    return find_in(functions_builtin, name);
}

const struct function *function_find_confd(struct bytes name)
{
    const struct function *f = find_in(functions_confd, name);

    if (f == NULL) {
        f = find_in(functions_keys, name);
    }
    return f != NULL ? f : function_find_builtin(name);
}

const char *param_type_name(char letter)
{
    switch (letter) {
    case 's':
        return "string";
    case 'i':
        return "int";
    case 'v':
        return "reflect.Value";
    case 'S':
    case 'L':
        return "[]string";
    case 'P':
        return "[]memkv.KVPair";
    case 'd':
        return "time.Duration";
    case 't':
        return "time.Time";
    default:
        return "interface {}";
    }
}

bool param_accepts(char letter, enum value_type type)
{
    switch (letter) {
    case 's':
        return type == VALUE_STRING;
    case 'i':
        return type == VALUE_INT;
    case 'S':
        return type == VALUE_STRINGS;
    case 'L': /* wider than the dialect's: a decoded JSON array may be joined as well */
        return type == VALUE_STRINGS || type == VALUE_ANYS || type == VALUE_INTS;
    case 'P':
        return type == VALUE_PAIR_LIST || type == VALUE_PAIRS;
    case 'd':
        return type == VALUE_DURATION;
    case 't':
        return type == VALUE_TIME;
    default:
        return true;
    }
}

bool param_can_be_nil(char letter)
{
    return letter == 'a' || letter == 'v' || letter == 'S' || letter == 'L' || letter == 'P';
}
