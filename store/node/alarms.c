#include "alarms.h"

#include "codec.h"

/* Where it is, or would be. */
static size_t place(const struct alarms *a, uint64_t member, enum store_alarm_type type)
{
    size_t i = 0;

    while (i < a->n &&
        (a->list[i].member < member || (a->list[i].member == member && a->list[i].type < type))) {
        i++;
    }
    return i;
}

const struct store_alarm *alarms_find(
    const struct alarms *a, uint64_t member, enum store_alarm_type type)
{
    size_t i = place(a, member, type);

    return i < a->n && a->list[i].member == member && a->list[i].type == type ? &a->list[i] : NULL;
}

size_t alarms_count(const struct alarms *a, enum store_alarm_type type)
{
    size_t n = 0;

    for (size_t i = 0; i < a->n; i++) {
        n += a->list[i].type == type;
    }
    return n;
}

int alarms_raise(struct alarms *a, struct store_alarm alarm)
{
    size_t i = place(a, alarm.member, alarm.type);

    decree_assert(alarm.type > STORE_ALARM_NONE && alarm.type < STORE_ALARM_TYPE_END);
    if (alarms_find(a, alarm.member, alarm.type) != NULL) {
        return 0;
    }
    if (a->n == ALARMS_MAX) {
        return DECREE_ETOO_MANY_REQUESTS;
    }
    memmove(&a->list[i + 1], &a->list[i], (a->n - i) * sizeof(a->list[0]));
    a->list[i] = alarm;
    a->n++;
    return 0;
}

bool alarms_clear(struct alarms *a, uint64_t member, enum store_alarm_type type)
{
    size_t i = place(a, member, type);

    if (alarms_find(a, member, type) == NULL) {
        return false;
    }
    a->n--;
    memmove(&a->list[i], &a->list[i + 1], (a->n - i) * sizeof(a->list[0]));
    return true;
}

size_t alarms_select(
    const struct alarms *a, enum store_alarm_type type, struct store_alarm ret[ALARMS_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < a->n; i++) {
        if (type == STORE_ALARM_NONE || a->list[i].type == type) {
            ret[n++] = a->list[i];
        }
    }
    return n;
}

const char *alarm_text(enum store_alarm_type type)
{
    static const char *const texts[] = {"NONE", "NOSPACE", "CORRUPT"};

    _Static_assert(ARRAY_SIZE(texts) == STORE_ALARM_TYPE_END, "a text for each alarm");
    return texts[type];
}

void alarms_encode(const struct alarms *a, struct strbuf *out)
{
    enc_varint(out, a->n);
    for (size_t i = 0; i < a->n; i++) {
        enc_u64(out, a->list[i].member);
        enc_u8(out, (uint8_t)a->list[i].type);
        enc_u8(out, (uint8_t)a->list[i].own);
    }
}

int alarms_decode(struct bytes b, struct alarms *ret)
{
    struct dec d = dec_make(b);
    uint64_t n = dec_varint(&d);

    *ret = (struct alarms){0};
    if (n > ALARMS_MAX) {
        return DECREE_EBAD_REQUEST;
    }
    for (uint64_t i = 0; i < n && !d.bad; i++) {
        struct store_alarm alarm = {.member = dec_u64(&d)};
        uint8_t type = dec_u8(&d), own = dec_u8(&d);

        if (d.bad || type == STORE_ALARM_NONE || type >= STORE_ALARM_TYPE_END || own > 1) {
            return DECREE_EBAD_REQUEST;
        }
        alarm.type = (enum store_alarm_type)type;
        alarm.own = own;
        (void)alarms_raise(ret, alarm);
    }
    return dec_done(&d) && ret->n == n ? 0 : DECREE_EBAD_REQUEST;
}
