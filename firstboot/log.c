/* The log: C:\Replant\firstboot.log, each line on disk before the next thing happens, and the first serial
 * port where it can be had (EC2 shows it as the instance's console; where Windows' own Special Administration
 * Console holds the port, it cannot). */
#include "launcher.h"

/* How long a line may keep the serial port busy, in milliseconds. */
#define PORT_TIMEOUT 5000
/* A port that nobody empties must not hold up the first boot: after so many lines it is left alone. */
#define MOST_PORT_FAILURES 3
/* Most bytes of what one attempt prints that are kept, and that go to the slow port too. */
#define MOST_OUTPUT (256 * 1024)
#define MOST_PORT_OUTPUT (16 * 1024)
#define MOST_LINE 1000

static HANDLE log_file = INVALID_HANDLE_VALUE;
static DWORD port_failures;

/* Opened for each line: agents that write to it during the first boot want it too. */
static void port_put(const char *bytes, DWORD length) {
    DCB settings;
    COMMTIMEOUTS timeouts;
    DWORD written;
    HANDLE port;
    if (port_failures >= MOST_PORT_FAILURES) return;
    port = CreateFileW(L"\\\\.\\COM1", GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    if (port == INVALID_HANDLE_VALUE) return;
    memset(&settings, 0, sizeof settings);
    settings.DCBlength = sizeof settings;
    if (GetCommState(port, &settings)) {
        settings.BaudRate = 115200;
        settings.ByteSize = 8;
        settings.Parity = NOPARITY;
        settings.StopBits = ONESTOPBIT;
        settings.fOutxCtsFlow = settings.fOutxDsrFlow = settings.fOutX = FALSE;
        SetCommState(port, &settings);
    }
    memset(&timeouts, 0, sizeof timeouts);
    timeouts.WriteTotalTimeoutConstant = PORT_TIMEOUT;
    SetCommTimeouts(port, &timeouts);
    if (!WriteFile(port, bytes, length, &written, NULL) || written != length) port_failures++;
    else port_failures = 0;
    CloseHandle(port);
}

void log_open(const WCHAR *path) {
    log_file = CreateFileW(path, FILE_APPEND_DATA, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL, OPEN_ALWAYS,
                           FILE_FLAG_WRITE_THROUGH, NULL);
}

static void put(const char *bytes, DWORD length, BOOL to_port) {
    DWORD written;
    if (log_file != INVALID_HANDLE_VALUE) {
        WriteFile(log_file, bytes, length, &written, NULL);
        FlushFileBuffers(log_file);
    }
    if (to_port) port_put(bytes, length);
}

/* What a program prints is written in such pieces, or each of its lines would wait for the disk. */
static char pieces[16 * 1024];
static DWORD pieces_length, output_total;
static BOOL in_output;

static void pieces_put(void) {
    if (pieces_length) put(pieces, pieces_length, output_total < MOST_PORT_OUTPUT);
    pieces_length = 0;
}

/* A line as it is made: the time, what it says, its end. Only the service's own thread writes. */
static WCHAR line_buffer[2048];
static struct wide line;
static char line_bytes[3 * 2048];

static void two_digits(DWORD number, const WCHAR *end) {
    if (number < 10) wide_add(&line, L"0");
    wide_add_number(&line, number);
    wide_add(&line, end);
}

static void line_start(void) {
    SYSTEMTIME now;
    GetSystemTime(&now);
    wide_start(&line, line_buffer, ARRAYSIZE(line_buffer));
    wide_add_number(&line, now.wYear);
    wide_add(&line, L"-");
    two_digits(now.wMonth, L"-");
    two_digits(now.wDay, L"T");
    two_digits(now.wHour, L":");
    two_digits(now.wMinute, L":");
    two_digits(now.wSecond, L"Z Replant first boot: ");
}

static void line_end(void) {
    int length;
    DWORD at;
    for (at = 0; at < line.length; at++) {
        /* What a program prints must not move a terminal's cursor. */
        if (line.text[at] < 0x20 || (line.text[at] >= 0x7F && line.text[at] < 0xA0)) line.text[at] = L' ';
    }
    length = WideCharToMultiByte(CP_UTF8, 0, line.text, (int)line.length, line_bytes, sizeof line_bytes - 2, NULL, NULL);
    if (length < 0) length = 0;
    line_bytes[length++] = '\r';
    line_bytes[length++] = '\n';
    if (!in_output) {
        put(line_bytes, (DWORD)length, TRUE);
        return;
    }
    if (pieces_length + (DWORD)length > sizeof pieces) pieces_put();
    memcpy(pieces + pieces_length, line_bytes, (size_t)length);
    pieces_length += (DWORD)length;
}

void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    line_start();
    while (*format) {
        const char *plain = format;
        while (*format && *format != '%') format++;
        wide_add_bytes(&line, CP_UTF8, plain, (DWORD)(format - plain));
        if (!*format) break;
        format++;
        if (*format == 's') {
            const char *text = va_arg(arguments, const char *);
            wide_add_bytes(&line, CP_UTF8, text, length_of(text));
        } else if (*format == 'w') {
            wide_add(&line, va_arg(arguments, const WCHAR *));
        } else if (*format == 'u') {
            wide_add_number(&line, va_arg(arguments, DWORD));
        } else if (*format == 't') {
            DWORD time = va_arg(arguments, DWORD);
            wide_add_number(&line, time / 1000);
            wide_add(&line, L".");
            wide_add_number(&line, time / 100 % 10);
            wide_add(&line, L" s");
        }
        format++;
    }
    va_end(arguments);
    line_end();
}

static char output[MOST_LINE];
static DWORD output_length;

static void output_line(void) {
    if (output_length == 0) return;
    line_start();
    wide_add(&line, L"| ");
    wide_add_bytes(&line, CP_OEMCP, output, output_length);
    line_end();
    output_length = 0;
}

static void take(const char *bytes, DWORD length) {
    while (length--) {
        char byte = *bytes++;
        if (output_total >= MOST_OUTPUT) {
            if (output_total == MOST_OUTPUT) {
                output_total++;
                output_line();
                say("| (it prints more, which is left out)");
            }
            return;
        }
        output_total++;
        /* Some of Windows' programs print UTF-16: without its NULs it can be read. */
        if (byte == 0) continue;
        if (byte == '\n' || byte == '\r') {
            output_line();
            continue;
        }
        if (output_length == MOST_LINE) output_line();
        output[output_length++] = byte;
    }
}

void log_output(const char *bytes, DWORD length) {
    in_output = TRUE;
    take(bytes, length);
    pieces_put();
    in_output = FALSE;
}

void log_output_ends(void) {
    output_line();
    output_total = 0;
}
