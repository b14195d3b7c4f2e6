/* The list of steps, as src/guest/windows/firstboot/list.rs writes it:
 *
 *     replant-firstboot 1
 *     starts = 5
 *     restarts = 1
 *
 *     [driver ena.inf]
 *     run = "{system}\pnputil.exe" /add-driver "{here}\drivers\ena\ena.inf" /install
 *     timeout = 600
 *     attempts = 3
 *     pause = 10
 *     success = 0 259 3010
 *
 *     [install AWSPVDriverSetup.msi]
 *     …
 *     restart = service xennet      it may restart Windows by itself, and worked when this service is there
 *     optional = yes                its failure is none of the first boot's
 *     when = all-succeeded          or: succeeded NAME
 *
 *     crc32 = 0123abcd
 *
 * UTF-8, no comments; the last line is the CRC-32 of all bytes before it. */
#include "launcher.h"

#define MOST_SECONDS 86400
#define MOST_ATTEMPTS 20

static char *next_line(char **at) {
    char *start = *at, *end = start;
    if (*start == 0) return NULL;
    while (*end && *end != '\n') end++;
    *at = *end ? end + 1 : end;
    if (end > start && end[-1] == '\r') end[-1] = 0;
    *end = 0;
    return start;
}

/* The last line's checksum, when it is right. */
static BOOL intact(char *bytes, DWORD length, DWORD *checksum) {
    DWORD end = length, start, crc = 0, digits = 0;
    const char *text;
    while (end && (bytes[end - 1] == '\n' || bytes[end - 1] == '\r')) end--;
    start = end;
    while (start && bytes[start - 1] != '\n') start--;
    if (!(text = after(bytes + start, "crc32 = "))) return FALSE;
    for (; text < bytes + end; text++, digits++) {
        char digit = *text;
        if (digit >= '0' && digit <= '9') digit = (char)(digit - '0');
        else if (digit >= 'a' && digit <= 'f') digit = (char)(digit - 'a' + 10);
        else return FALSE;
        crc = crc << 4 | (DWORD)digit;
    }
    if (digits != 8 || crc != crc32_of(bytes, start)) return FALSE;
    bytes[start] = 0;
    *checksum = crc;
    return TRUE;
}

struct step *list_find(struct list *list, const char *name) {
    DWORD at;
    for (at = 0; at < list->count; at++) {
        if (same(list->steps[at].name, name)) return &list->steps[at];
    }
    return NULL;
}

static const char *step_start(struct list *list, char *name) {
    DWORD length = length_of(name), at;
    struct step *step;
    if (length < 2 || length > 120 || name[length - 1] != ']') return "a step's name is malformed";
    name[length - 1] = 0;
    for (at = 0; at < length - 1; at++) {
        if (name[at] < 0x20 || name[at] > 0x7E || name[at] == ']') return "a step's name is malformed";
    }
    if (list_find(list, name)) return "two steps have one name";
    if (list->count == MOST_STEPS) return "there are too many steps";
    step = &list->steps[list->count++];
    memset(step, 0, sizeof *step);
    step->name = name;
    return NULL;
}

static BOOL codes(struct step *step, const char *value) {
    for (;;) {
        if (step->codes_count == MOST_CODES) return FALSE;
        if (!number_in(&value, 0xFFFFFFFF, &step->codes[step->codes_count++])) return FALSE;
        if (*value == 0) return TRUE;
        if (*value++ != ' ') return FALSE;
    }
}

static BOOL step_value(struct list *list, struct step *step, const char *key, const char *value) {
    const char *name;
    if (same(key, "run") || same(key, "uninstall") || same(key, "disks")) {
        if (step->value || !*value) return FALSE;
        step->kind = *key == 'r' ? RUN : *key == 'u' ? UNINSTALL : DISKS;
        step->value = value;
        return step->kind != DISKS || same(value, "online");
    }
    if (same(key, "adapter")) return step->adapter = value, *value != 0;
    if (same(key, "timeout")) return number_is(value, MOST_SECONDS, &step->timeout) && step->timeout;
    if (same(key, "attempts")) return number_is(value, MOST_ATTEMPTS, &step->attempts) && step->attempts;
    if (same(key, "pause")) return number_is(value, MOST_SECONDS, &step->pause);
    if (same(key, "success")) return step->codes_count == 0 && codes(step, value);
    if (same(key, "restart")) return (step->proof = after(value, "service ")) && *step->proof;
    if (same(key, "optional")) return step->optional = same(value, "yes");
    if (same(key, "when")) {
        step->when = value;
        name = after(value, "succeeded ");
        /* Only an earlier step can have succeeded. */
        return same(value, "all-succeeded") || (name && list_find(list, name) && list_find(list, name) != step);
    }
    return FALSE;
}

static BOOL list_value(struct list *list, const char *key, const char *value) {
    if (same(key, "starts")) return number_is(value, 20, &list->starts) && list->starts;
    return same(key, "restarts") && number_is(value, 1, &list->restarts);
}

static const char *step_check(struct step *step) {
    static WCHAR command[32767];
    struct wide wide;
    if (!step->value) return "a step does nothing";
    if (!step->timeout || !step->attempts || !step->codes_count) return "a step has no bounds";
    if (step->adapter && step->kind != RUN) return "a step has an adapter and no command";
    wide_start(&wide, command, ARRAYSIZE(command));
    /* The longest that the tokens may come to later is about the length of a path. */
    if (!expand(&wide, step->value, L"", 0) || wide.length > ARRAYSIZE(command) - 1024) {
        return "a step's command is malformed";
    }
    return NULL;
}

const char *list_read(struct list *list, char *bytes, DWORD length) {
    const char *wrong;
    char *at = bytes, *line;
    DWORD step;
    memset(list, 0, sizeof *list);
    if (length_of(bytes) != length) return "it holds a NUL";
    if (!intact(bytes, length, &list->crc)) return "its checksum is missing or wrong";
    if (!(line = next_line(&at)) || !same(line, "replant-firstboot 1")) return "it is of another version";
    while ((line = next_line(&at))) {
        char *equals = line;
        if (*line == 0) continue;
        if (*line == '[') {
            if ((wrong = step_start(list, line + 1))) return wrong;
            continue;
        }
        while (*equals && *equals != ' ') equals++;
        if (!after(equals, " = ")) return "a line is malformed";
        *equals = 0;
        if (list->count ? !step_value(list, &list->steps[list->count - 1], line, equals + 3)
                        : !list_value(list, line, equals + 3)) {
            return "a value is malformed";
        }
    }
    if (!list->starts) return "it does not bound its starts";
    for (step = 0; step < list->count; step++) {
        if ((wrong = step_check(&list->steps[step]))) return wrong;
    }
    return NULL;
}

BOOL expand(struct wide *out, const char *value, const WCHAR *here, DWORD adapter) {
    while (*value) {
        const char *plain = value, *rest;
        while (*value && *value != '{') value++;
        wide_add_bytes(out, CP_UTF8, plain, (DWORD)(value - plain));
        if (!*value) break;
        if ((rest = after(value, "{{"))) {
            wide_add(out, L"{");
        } else if ((rest = after(value, "{here}"))) {
            wide_add(out, here);
        } else if ((rest = after(value, "{adapter}"))) {
            wide_add_number(out, adapter);
        } else if ((rest = after(value, "{system}"))) {
            static WCHAR system[MAX_PATH];
            UINT length = GetSystemDirectoryW(system, MAX_PATH);
            if (length == 0 || length >= MAX_PATH) return FALSE;
            wide_add(out, system);
        } else {
            return FALSE;
        }
        value = rest;
    }
    return !out->cut;
}
