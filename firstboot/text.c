/* Strings, numbers and files, without a C library. */
#include "launcher.h"

/* The compiler calls these also where no library is linked. */
void *memcpy(void *to, const void *from, size_t length) {
    char *out = to;
    const char *in = from;
    while (length--) *out++ = *in++;
    return to;
}

void *memset(void *to, int byte, size_t length) {
    char *out = to;
    while (length--) *out++ = (char)byte;
    return to;
}

void wide_start(struct wide *wide, WCHAR *buffer, DWORD room) {
    wide->text = buffer;
    wide->room = room;
    wide->length = 0;
    wide->cut = FALSE;
    buffer[0] = 0;
}

static void add_one(struct wide *wide, WCHAR character) {
    if (wide->length + 1 >= wide->room) {
        wide->cut = TRUE;
        return;
    }
    wide->text[wide->length++] = character;
    wide->text[wide->length] = 0;
}

void wide_add(struct wide *wide, const WCHAR *text) {
    while (*text) add_one(wide, *text++);
}

void wide_add_bytes(struct wide *wide, UINT code_page, const char *bytes, DWORD length) {
    DWORD room = wide->room - wide->length - 1, flags = code_page == CP_UTF8 ? MB_ERR_INVALID_CHARS : 0;
    int added;
    if (length == 0) return;
    added = room ? MultiByteToWideChar(code_page, flags, bytes, (int)length, wide->text + wide->length, (int)room) : 0;
    if (added <= 0) {
        wide->cut = TRUE;
        added = 0;
    }
    wide->length += (DWORD)added;
    wide->text[wide->length] = 0;
}

void wide_add_number(struct wide *wide, DWORD number) {
    WCHAR digits[10];
    DWORD count = 0;
    do {
        digits[count++] = (WCHAR)(L'0' + number % 10);
        number /= 10;
    } while (number);
    while (count) add_one(wide, digits[--count]);
}

BOOL same(const char *one, const char *other) {
    while (*one && *one == *other) one++, other++;
    return *one == *other;
}

DWORD length_of(const char *text) {
    DWORD length = 0;
    while (text[length]) length++;
    return length;
}

const char *after(const char *text, const char *prefix) {
    while (*prefix) {
        if (*text++ != *prefix++) return NULL;
    }
    return text;
}

BOOL number_in(const char **text, DWORD most, DWORD *number) {
    const char *at = *text;
    ULONGLONG value = 0;
    if (*at < '0' || *at > '9') return FALSE;
    while (*at >= '0' && *at <= '9') {
        value = value * 10 + (ULONGLONG)(*at++ - '0');
        if (value > most) return FALSE;
    }
    *text = at;
    *number = (DWORD)value;
    return TRUE;
}

BOOL number_is(const char *text, DWORD most, DWORD *number) {
    return number_in(&text, most, number) && *text == 0;
}

DWORD crc32_of(const char *bytes, DWORD length) {
    DWORD crc = 0xFFFFFFFF;
    while (length--) {
        int bit;
        crc ^= (unsigned char)*bytes++;
        for (bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0xEDB88320 & (0 - (crc & 1)));
    }
    return ~crc;
}

char *read_file(const WCHAR *path, DWORD most, DWORD *length) {
    HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    LARGE_INTEGER size;
    char *bytes = NULL;
    DWORD failure = 0;
    if (file == INVALID_HANDLE_VALUE) return NULL;
    if (!GetFileSizeEx(file, &size)) {
        failure = GetLastError();
    } else if (size.QuadPart > most) {
        failure = ERROR_FILE_TOO_LARGE;
    } else if (!(bytes = HeapAlloc(GetProcessHeap(), 0, (SIZE_T)size.QuadPart + 1))) {
        failure = ERROR_NOT_ENOUGH_MEMORY;
    } else if (!ReadFile(file, bytes, (DWORD)size.QuadPart, length, NULL)) {
        failure = GetLastError();
    } else {
        bytes[*length] = 0;
    }
    CloseHandle(file);
    if (failure) {
        if (bytes) HeapFree(GetProcessHeap(), 0, bytes);
        bytes = NULL;
        SetLastError(failure);
    }
    return bytes;
}
