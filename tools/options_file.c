// The config file: one JSON object whose keys are the options. Unknown keys and wrong types are refused with their path.
#include "shards/base/check.h"
#include "tools/options.h"
#include "tools/values.h"
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

static const struct option_row *row_of(const char *key)
{
    for (size_t i = 0; i < option_count; i++) {
        char name[64];
        options_key(&option_rows[i], name, sizeof name);
        if (option_rows[i].place != PLACE_COMMAND_LINE && strcmp(name, key) == 0)
            return &option_rows[i];
    }
    return NULL;
}

static bool unknown_key(struct options *options, const char *path, const char *key)
{
    static char names[OPTIONS_MAX][64];
    const char *list[OPTIONS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < option_count; i++) {
        if (option_rows[i].place == PLACE_COMMAND_LINE)
            continue;
        options_key(&option_rows[i], names[count], sizeof names[count]);
        list[count] = names[count];
        count++;
    }
    const char *nearest = value_nearest(key, list, count);
    if (nearest != NULL)
        return options_fail(options, "%s: unknown key /%.80s: did you mean /%s?", path, key, nearest);
    return options_fail(options, "%s: unknown key /%.80s", path, key);
}

static bool set_list(struct options *options, const struct option_row *row, const json_t *list, const char *where)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        char element[320];
        const char *text = json_string_value(json_array_get(list, i));
        snprintf(element, sizeof element, "%s/%zu", where, i);
        if (text == NULL)
            return options_fail(options, "%s: must be a string", element);
        if (!options_set(options, row, text, element))
            return false;
    }
    return true;
}

static bool set_key(struct options *options, const struct option_row *row, const json_t *value, const char *where)
{
    bool flag = row->type == OPTION_TRUE || row->type == OPTION_FALSE;
    bool number = row->type == OPTION_NUMBER || row->type == OPTION_NUMBER16;
    bool measure = row->type == OPTION_SIZE || row->type == OPTION_DURATION;
    if (flag && json_is_boolean(value))
        return options_set_flag(options, row, json_is_true(value));
    if (options_repeatable(row) && json_is_array(value))
        return set_list(options, row, value, where);
    if ((number || measure) && json_is_integer(value)) {
        char text[VALUE_TEXT_MAX];
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return options_set(options, row, text, where);
    }
    if (!flag && !number && json_is_string(value))
        return options_set(options, row, json_string_value(value), where);
    const char *wanted = flag                           ? "true or false"
                         : number                       ? "a whole number"
                         : row->type == OPTION_SIZE     ? "a number of bytes or a text such as \"64k\""
                         : row->type == OPTION_DURATION ? "a number of seconds or a text such as \"2m\""
                         : options_repeatable(row)      ? "a string or an array of strings"
                                                        : "a string";
    return options_fail(options, "%s: must be %s", where, wanted);
}

bool options_read_file(struct options *options, const char *path)
{
    CHECK(path != NULL && options->file == NULL);
    json_error_t error;
    options->file = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (options->file == NULL && error.line < 0)
        return options_fail(options, "%s: %s", path, error.text);
    if (options->file == NULL)
        return options_fail(options, "%s: line %d: %s", path, error.line, error.text);
    if (!json_is_object(options->file))
        return options_fail(options, "%s: must hold one JSON object", path);
    const char *key;
    json_t *value;
    json_object_foreach(options->file, key, value)
    {
        char where[256];
        const struct option_row *row = row_of(key);
        if (row == NULL)
            return unknown_key(options, path, key);
        snprintf(where, sizeof where, "%s: /%s", path, key);
        if (!set_key(options, row, value, where))
            return false;
    }
    return true;
}
