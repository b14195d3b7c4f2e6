/* Prints every line of a setup information file as setupapi.dll reads it, and for each manufacturer
 * what it takes for the models of this Windows: tests run it under Wine, whose setupapi is a reader
 * of its own. Fields are divided by U+001F, lines end with U+001E, all in UTF-8.
 *
 *     setupapi.exe FILE.inf OUTPUT
 */
#include <windows.h>
#include <setupapi.h>
#include <stdio.h>
#include <wchar.h>

static FILE *output;

static void put(const WCHAR *text, const char *end)
{
    char utf8[16384];
    int length = WideCharToMultiByte(CP_UTF8, 0, text, -1, utf8, sizeof utf8, NULL, NULL);
    if (length > 0)
        fwrite(utf8, 1, length - 1, output);
    fputs(end, output);
}

int wmain(int count, WCHAR **arguments)
{
    UINT error_line = 0;
    if (count != 3)
        return 2;
    output = _wfopen(arguments[2], L"wb");
    if (!output)
        return 3;
    HINF inf = SetupOpenInfFileW(arguments[1], NULL, INF_STYLE_WIN4, &error_line);
    if (inf == INVALID_HANDLE_VALUE) {
        fprintf(output, "error %lx in line %u", GetLastError(), error_line);
        fclose(output);
        return 1;
    }
    WCHAR section[256];
    for (UINT index = 0; SetupEnumInfSectionsW(inf, index, section, 256, NULL); index++) {
        INFCONTEXT line;
        if (!SetupFindFirstLineW(inf, section, NULL, &line))
            continue;
        do {
            WCHAR field[4096];
            DWORD fields = SetupGetFieldCount(&line);
            put(section, "\x1f");
            for (DWORD number = 0; number <= fields; number++) {
                if (!SetupGetStringFieldW(&line, number, field, 4096, NULL))
                    field[0] = 0;
                put(field, number == fields ? "\x1e" : "\x1f");
            }
        } while (SetupFindNextLine(&line, &line));
    }
    SetupCloseInfFile(inf);
    fclose(output);
    return 0;
}
