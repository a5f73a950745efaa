/* libFuzzer target for the plan's parser: what it accepts is whole, what it refuses leaks nothing.
 * tests/integration/test_fuzz_plan.py builds and runs it. */
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const signatures[] = {
#define OPERATION(code, name, signature, sections) [code] = signature,
#include "operations.def"
#undef OPERATION
};

static void check(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "broken promise: %s\n", what);
    abort();
}

/* Every argument can be used as its type says, without looking at the input again. */
static void check_value(char type, const struct value *value)
{
    switch (type) {
    case 'd':
        check(value->number < PLAN_SLOTS || value->number == PLAN_NO_SLOT, "a slot is one of the table");
        break;
    case 's':
        check(strlen(value->string) == value->number, "a string ends where its length says");
        break;
    case 'b':
        check(!value->number || value->bytes, "bytes are there");
        break;
    case 'l':
        for (uint64_t i = 0; i < value->number; i++)
            check(value->list[i] && strlen(value->list[i]) < PLAN_MAX_SIZE, "a list has all its strings");
        check(!value->list[value->number], "a list ends with NULL");
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plan *plan = NULL;
    struct plan_error error = {.index = -1};

    if (plan_parse(&plan, data, size, &error)) {
        check(error.error && *error.step && error.index < PLAN_MAX_OPERATIONS, "a refusal says why");
        return 0;
    }
    check(plan->clone_at < plan->child_at && plan->child_at < plan->count, "the sections are in order");
    for (size_t i = 0; i < plan->count; i++) {
        const struct operation *op = &plan->operations[i];
        for (size_t k = 0; signatures[op->code][k]; k++)
            check_value(signatures[op->code][k], &op->args[k]);
    }
    plan_free(plan);
    return 0;
}
