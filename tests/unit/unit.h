/* Unit tests on cmocka: names read as claims.
 *     TEST(wal, torn_tail_is_cut_at_last_valid_record) { … assert_int_equal(…); }
 *     TEST_MAIN(UNIT(wal, torn_tail_is_cut_at_last_valid_record), …)
 */
#ifndef DECREE_TESTS_UNIT_H
#define DECREE_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TEST(module, claim) static void module##__##claim(void **state __attribute__((unused)))

#define UNIT(module, claim)                                                                        \
    {                                                                                              \
        #module ": " #claim, module##__##claim, NULL, NULL, NULL                                   \
    }

#define TEST_MAIN(...)                                                                             \
    int main(void)                                                                                 \
    {                                                                                              \
        const struct CMUnitTest tests[] = {__VA_ARGS__};                                           \
        return cmocka_run_group_tests(tests, NULL, NULL);                                          \
    }

#endif
