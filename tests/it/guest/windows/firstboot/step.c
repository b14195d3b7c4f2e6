/* What the first boot's steps run in tests. */
#include <windows.h>
#include <shellapi.h>
#include <sddl.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

static void print(FILE *out, const WCHAR *text) {
    static char bytes[200000];
    WideCharToMultiByte(CP_UTF8, 0, text, -1, bytes, sizeof bytes, NULL, NULL);
    fputs(bytes, out);
}

static char *read_all(const WCHAR *path, size_t *length) {
    static char bytes[4 << 20];
    FILE *in = _wfopen(path, L"rb");
    *length = in ? fread(bytes, 1, sizeof bytes - 1, in) : 0;
    bytes[*length] = 0;
    if (in) fclose(in);
    return bytes;
}

/* Command lines, one a line, taken apart: arguments end in 0x1F, lines in a newline. */
static int split(const WCHAR *from, const WCHAR *to) {
    size_t length;
    static WCHAR wide[100000];
    char *line = strtok(read_all(from, &length), "\n");
    FILE *out = _wfopen(to, L"wb");
    for (; line; line = strtok(NULL, "\n")) {
        int count, at;
        WCHAR **arguments;
        MultiByteToWideChar(CP_UTF8, 0, line, -1, wide, 100000);
        arguments = CommandLineToArgvW(wide, &count);
        for (at = 0; at < count; at++) {
            print(out, arguments[at]);
            fputc(0x1F, out);
        }
        fputc('\n', out);
        LocalFree(arguments);
    }
    return fclose(out);
}

static int sddl(const WCHAR *path) {
    size_t length;
    WCHAR *text;
    PSECURITY_DESCRIPTOR descriptor = read_all(path, &length);
    if (!IsValidSecurityDescriptor(descriptor) || GetSecurityDescriptorLength(descriptor) != length) return 1;
    if (!ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor, SDDL_REVISION_1,
            OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION, &text, NULL)) {
        return 2;
    }
    print(stdout, text);
    return 0;
}

int wmain(int count, WCHAR **arguments) {
    const WCHAR *verb = count > 1 ? arguments[1] : L"";
    if (!wcscmp(verb, L"exit")) return _wtoi(arguments[2]);
    if (!wcscmp(verb, L"print")) {
        int at;
        for (at = 2; at < count; at++) {
            printf("<");
            print(stdout, arguments[at]);
            printf(">\n");
        }
        return 0;
    }
    if (!wcscmp(verb, L"count")) { /* fails until it is run for the Nth time */
        FILE *file = _wfopen(arguments[2], L"ab");
        fputc('x', file);
        fseek(file, 0, SEEK_END);
        printf("run %ld\n", ftell(file));
        return ftell(file) >= _wtoi(arguments[3]) ? fclose(file) : 7;
    }
    if (!wcscmp(verb, L"beat")) { /* lives until it is killed; its file grows */
        for (;;) {
            FILE *file = _wfopen(arguments[2], L"ab");
            fputc('x', file);
            fclose(file);
            Sleep(50);
        }
    }
    if (!wcscmp(verb, L"hang")) { /* never ends, and starts a child that never ends */
        STARTUPINFOW start = {.cb = sizeof start};
        PROCESS_INFORMATION process;
        WCHAR command[1000];
        swprintf(command, 1000, L"\"%ls\" beat \"%ls\"", _wpgmptr, arguments[2]);
        printf("not ended");
        fflush(stdout);
        if (!CreateProcessW(NULL, command, NULL, NULL, FALSE, 0, NULL, NULL, &start, &process)) return 1;
        Sleep(INFINITE);
    }
    if (!wcscmp(verb, L"flood")) {
        for (;;) puts("\x1b[2J flood");
    }
    if (!wcscmp(verb, L"sleep")) return Sleep(1000 * _wtoi(arguments[2])), 0;
    if (!wcscmp(verb, L"split")) return split(arguments[2], arguments[3]);
    if (!wcscmp(verb, L"sddl")) return sddl(arguments[2]);
    return 99;
}
