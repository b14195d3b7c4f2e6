/* The service: counts its starts, runs the steps of its list, each bounded in attempts and time, and removes
 * itself. What it needs lies beside its program:
 *
 *     firstboot.steps  what to do (steps.c)
 *     firstboot.state  of which list it is, and what was done: a line when a step begins and one when it
 *                      has ended. A step that takes the machine down is not begun for ever, and none
 *                      runs twice after a restart. One of another list says nothing of this one
 *     firstboot.log    what happened
 *
 * No restart for ever: each start is on disk before anything else is done, after the bound (or when it
 * cannot be written) the service gives up and removes itself; it restarts the machine once at most, and
 * only when it is gone already. */
#include "launcher.h"

#define MOST_LIST (1024 * 1024)
#define MOST_STATE (256 * 1024)
#define MOST_PATH 1024
/* Windows Installer's and pnputil's: done, after a restart. */
#define RESTART_REQUIRED 3010
#define RESTART_BEGUN 1641

static SERVICE_STATUS_HANDLE status_handle;
static SERVICE_STATUS service_status;
static CRITICAL_SECTION status_lock;
static HANDLE stop_event;
static WCHAR service_name[257], here[MOST_PATH], program[MOST_PATH];
static struct list list;
static BOOL restart_wanted;

static const WCHAR *beside(const WCHAR *name) {
    static WCHAR path[MOST_PATH + 32];
    struct wide wide;
    wide_start(&wide, path, ARRAYSIZE(path));
    wide_add(&wide, here);
    wide_add(&wide, name);
    return path;
}

static BOOL find_here(void) {
    DWORD length = GetModuleFileNameW(NULL, program, MOST_PATH);
    if (length == 0 || length >= MOST_PATH) return FALSE;
    memcpy(here, program, (length + 1) * sizeof(WCHAR));
    while (length && here[length] != L'\\') length--;
    here[length] = 0;
    return TRUE;
}

static void report(DWORD state, DWORD hint, DWORD failures) {
    EnterCriticalSection(&status_lock);
    /* A request to stop may come when the service has just ended: what has ended stays so. */
    if (service_status.dwCurrentState == SERVICE_STOPPED) {
        LeaveCriticalSection(&status_lock);
        return;
    }
    service_status.dwServiceType = SERVICE_WIN32_OWN_PROCESS;
    service_status.dwCurrentState = state;
    service_status.dwControlsAccepted = state == SERVICE_RUNNING ? SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN : 0;
    service_status.dwWin32ExitCode = failures ? ERROR_SERVICE_SPECIFIC_ERROR : NO_ERROR;
    service_status.dwServiceSpecificExitCode = failures;
    service_status.dwWaitHint = hint;
    if (state == SERVICE_RUNNING || state == SERVICE_STOPPED) service_status.dwCheckPoint = 0;
    else service_status.dwCheckPoint++;
    SetServiceStatus(status_handle, &service_status);
    LeaveCriticalSection(&status_lock);
}

static DWORD WINAPI control(DWORD code, DWORD type, void *data, void *context) {
    (void)type, (void)data, (void)context;
    if (code == SERVICE_CONTROL_STOP || code == SERVICE_CONTROL_SHUTDOWN) {
        report(SERVICE_STOP_PENDING, 20000, 0);
        SetEvent(stop_event);
        return NO_ERROR;
    }
    return code == SERVICE_CONTROL_INTERROGATE ? NO_ERROR : ERROR_CALL_NOT_IMPLEMENTED;
}

/* Adds a line to the state. A line that a crash cut is ended first. */
static BOOL record(const char *verb, const char *name) {
    static char text[160];
    const char *parts[5] = {"\r\n", verb, *name ? " " : "", name, "\r\n"};
    DWORD length = 0, part, at, written;
    HANDLE file = CreateFileW(beside(L"\\firstboot.state"), FILE_APPEND_DATA, FILE_SHARE_READ, NULL, OPEN_ALWAYS,
                              FILE_FLAG_WRITE_THROUGH, NULL);
    BOOL done;
    if (file == INVALID_HANDLE_VALUE) return FALSE;
    for (part = 0; part < ARRAYSIZE(parts); part++) {
        for (at = 0; parts[part][at] && length < sizeof text; at++) text[length++] = parts[part][at];
    }
    done = WriteFile(file, text, length, &written, NULL) && written == length && FlushFileBuffers(file);
    CloseHandle(file);
    return done;
}

/* The state's first line: of which list it is. */
static const char *state_head(void) {
    static char head[16] = "list ";
    DWORD digit;
    for (digit = 0; digit < 8; digit++) head[5 + digit] = "0123456789abcdef"[list.crc >> (28 - 4 * digit) & 15];
    return head;
}

static BOOL state_is_ours(void) {
    DWORD length = 0, at = 0;
    char *bytes = read_file(beside(L"\\firstboot.state"), MOST_STATE, &length);
    BOOL ours;
    if (!bytes) return FALSE;
    while (bytes[at] && bytes[at] != '\r' && bytes[at] != '\n') at++;
    bytes[at] = 0;
    ours = same(bytes, state_head());
    HeapFree(GetProcessHeap(), 0, bytes);
    return ours;
}

/* An empty state. What a backup brought along from an earlier first boot is not done here. */
static BOOL state_begin(void) {
    HANDLE file = CreateFileW(beside(L"\\firstboot.state"), GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_FLAG_WRITE_THROUGH,
                              NULL);
    const char *head = state_head();
    DWORD written;
    BOOL done;
    if (file == INVALID_HANDLE_VALUE) return FALSE;
    done = WriteFile(file, head, length_of(head), &written, NULL) && written == length_of(head) && FlushFileBuffers(file);
    CloseHandle(file);
    return done;
}

static void recall_line(const char *line, DWORD *starts, DWORD *restarts) {
    static const struct {
        const char *verb;
        enum status status;
    } endings[3] = {{"succeeded ", SUCCEEDED}, {"failed ", FAILED}, {"skipped ", SKIPPED}};
    const char *name;
    struct step *step;
    DWORD ending;
    if (same(line, "start")) ++*starts;
    if (same(line, "restarting")) ++*restarts;
    if ((name = after(line, "began ")) && (step = list_find(&list, name))) step->used++;
    for (ending = 0; ending < ARRAYSIZE(endings); ending++) {
        if ((name = after(line, endings[ending].verb)) && (step = list_find(&list, name))) {
            step->status = endings[ending].status;
        }
    }
}

/* What earlier starts did. After a crash a file may end in NULs: they end a line like any other. */
static BOOL recall(DWORD *starts, DWORD *restarts) {
    DWORD length = 0, at, start = 0;
    char *bytes = read_file(beside(L"\\firstboot.state"), MOST_STATE, &length);
    *starts = *restarts = 0;
    if (!bytes) return FALSE;
    for (at = 0; at <= length; at++) {
        if (at < length && bytes[at] != '\n' && bytes[at] != '\r' && bytes[at] != 0) continue;
        bytes[at] = 0;
        if (at > start) recall_line(bytes + start, starts, restarts);
        start = at + 1;
    }
    HeapFree(GetProcessHeap(), 0, bytes);
    return TRUE;
}

static BOOL is_success(const struct step *step, DWORD code) {
    DWORD at;
    for (at = 0; at < step->codes_count; at++) {
        if (step->codes[at] == code) {
            if (code == RESTART_REQUIRED || code == RESTART_BEGUN) restart_wanted = TRUE;
            return TRUE;
        }
    }
    return FALSE;
}

/* Runs a command once. FALSE when it failed; `stopped` when the service shall end. */
static BOOL command(const struct step *step, WCHAR *text, BOOL *stopped) {
    ULONGLONG began = GetTickCount64();
    DWORD code = 0, time;
    enum ending ending;
    say("runs: %w", text);
    ending = run(text, here, step->timeout, stop_event, &code);
    time = (DWORD)(GetTickCount64() - began);
    if (ending == ENDED) {
        BOOL success = is_success(step, code);
        say("exit code %u after %t, which is %s", code, time, success ? "success" : "failure");
        return success;
    }
    if (ending == TIMED_OUT) say("killed with its children after %t: its time was over", time);
    if (ending == NOT_STARTED) say("cannot be started: Windows error %u", code);
    if (ending == STOPPED) {
        say("killed with its children after %t: this service is stopped", time);
        *stopped = TRUE;
    }
    return FALSE;
}

static WCHAR command_text[32767];

static BOOL expanded(const struct step *step, const char *value, DWORD adapter, BOOL *stopped) {
    struct wide wide;
    wide_start(&wide, command_text, ARRAYSIZE(command_text));
    if (!expand(&wide, value, here, adapter)) {
        say("its command is too long");
        return FALSE;
    }
    return command(step, command_text, stopped);
}

static BOOL on_adapters(const struct step *step, BOOL *stopped) {
    DWORD indexes[MOST_ADAPTERS], count = adapters(step->adapter, indexes), at;
    BOOL all = count > 0;
    if (count == 0) say("there is no network adapter %s", step->adapter);
    for (at = 0; at < count && !*stopped; at++) {
        if (!expanded(step, step->value, indexes[at], stopped)) all = FALSE;
    }
    return all;
}

static BOOL uninstall(const struct step *step, BOOL *stopped) {
    static WCHAR found[MOST_PRODUCTS][GUID_LENGTH + 1];
    DWORD count = products(step->value, found), at;
    BOOL all = TRUE;
    if (count == 0) say("nothing of Windows Installer's is called %s", step->value);
    for (at = 0; at < count && !*stopped; at++) {
        struct wide wide;
        wide_start(&wide, command_text, ARRAYSIZE(command_text));
        expand(&wide, "\"{system}\\msiexec.exe\" /x ", here, 0);
        wide_add(&wide, found[at]);
        expand(&wide, " /quiet /norestart /l*v \"{here}\\uninstall.log\"", here, 0);
        if (!command(step, command_text, stopped)) all = FALSE;
    }
    return all;
}

static BOOL attempt(const struct step *step, BOOL *stopped) {
    switch (step->kind) {
    case RUN: return step->adapter ? on_adapters(step, stopped) : expanded(step, step->value, 0, stopped);
    case UNINSTALL: return uninstall(step, stopped);
    case DISKS: return disks_online();
    }
    return FALSE;
}

/* Whether a step's condition holds, by what the steps before it came to. */
static BOOL is_due(const struct step *step) {
    const char *name;
    const struct step *before;
    if (!step->when) return TRUE;
    if ((name = after(step->when, "succeeded "))) return list_find(&list, name)->status == SUCCEEDED;
    for (before = list.steps; before < step; before++) {
        if (before->status == FAILED && !before->optional) return FALSE;
    }
    return TRUE;
}

static void settle(struct step *step, enum status status, const char *verb) {
    step->status = status;
    say("step [%s] %s", step->name, verb);
    record(verb, step->name);
}

/* Whether what a step installs is there: an installation may go on after the restart that it asked for. */
static BOOL awaited(const struct step *step, BOOL *stopped) {
    DWORD waited;
    for (waited = 0; !service_is_there(step->proof); waited++) {
        if (waited >= step->pause) return FALSE;
        if (WaitForSingleObject(stop_event, 1000) == WAIT_OBJECT_0) {
            *stopped = TRUE;
            return FALSE;
        }
    }
    return TRUE;
}

/* FALSE when the service shall end at once. */
static BOOL do_step(struct step *step) {
    BOOL stopped = FALSE;
    if (step->used) {
        say("step [%s] was cut short by the end of an earlier start", step->name);
        if (step->proof) {
            if (!awaited(step, &stopped)) {
                if (stopped) return FALSE;
                say("the service %s, which it installs, is not there", step->proof);
            } else {
                say("the service %s, which it installs, is there", step->proof);
                return settle(step, SUCCEEDED, "succeeded"), TRUE;
            }
        }
    }
    if (!is_due(step)) return settle(step, SKIPPED, "skipped"), TRUE;
    while (step->used < step->attempts) {
        if (!record("began", step->name)) {
            say("step [%s] is not begun: that cannot be written down (Windows error %u)", step->name, GetLastError());
            break;
        }
        step->used++;
        say("step [%s] begins, attempt %u of %u", step->name, step->used, step->attempts);
        if (attempt(step, &stopped)) return settle(step, SUCCEEDED, "succeeded"), TRUE;
        if (stopped) return FALSE;
        if (step->used < step->attempts && WaitForSingleObject(stop_event, step->pause * 1000) == WAIT_OBJECT_0) {
            return FALSE;
        }
    }
    settle(step, FAILED, "failed");
    return TRUE;
}

/* The service is over: nothing of it starts again. */
static BOOL remove_all(BOOL evidence) {
    BOOL removed = remove_service(service_name);
    MoveFileExW(program, NULL, MOVEFILE_DELAY_UNTIL_REBOOT);
    if (removed && !evidence) {
        DeleteFileW(beside(L"\\firstboot.steps"));
        DeleteFileW(beside(L"\\firstboot.state"));
    }
    return removed;
}

static DWORD give_up(const char *why, const char *detail) {
    say("gives up: %s%s", why, detail);
    remove_all(TRUE);
    return 1;
}

static DWORD finish(DWORD restarts) {
    DWORD count[4] = {0, 0, 0, 0}, in_vain = 0, at;
    BOOL removed;
    for (at = 0; at < list.count; at++) {
        const struct step *step = &list.steps[at];
        if (step->status == FAILED && step->optional) in_vain++;
        else count[step->status]++;
    }
    removed = remove_all(count[FAILED] > 0);
    if (in_vain) {
        say("finished: %u succeeded, %u failed, %u skipped, %u tried in vain", count[SUCCEEDED], count[FAILED],
            count[SKIPPED], in_vain);
    } else {
        say("finished: %u succeeded, %u failed, %u skipped", count[SUCCEEDED], count[FAILED], count[SKIPPED]);
    }
    if (restart_wanted && removed && restarts < list.restarts && record("restarting", "")) {
        say("restarts Windows once, as a step asked for");
        if (!restart_machine()) say("Windows does not restart: Windows error %u", GetLastError());
    } else if (restart_wanted) {
        say("a step asked for a restart of Windows, which is left to you");
    }
    return count[FAILED];
}

/* The number of failures, or of none because the service was stopped and will go on. */
static DWORD work(void) {
    DWORD length = 0, starts, restarts, at;
    const char *wrong = "it cannot be read";
    char *bytes = read_file(beside(L"\\firstboot.steps"), MOST_LIST, &length);
    if (bytes) wrong = list_read(&list, bytes, length);
    if (wrong) return give_up("firstboot.steps is damaged, none of its steps is run: ", wrong);
    if (!state_is_ours()) {
        say("begins anew: there is no state of this list of steps");
        if (!state_begin()) return give_up("its starts cannot be counted", "");
    }
    if (!record("start", "")) return give_up("its starts cannot be counted", "");
    if (!recall(&starts, &restarts)) return give_up("its state cannot be read", "");
    say("start %u of %u, %u steps", starts, list.starts, list.count);
    if (starts > list.starts) return give_up("it was started too often", "");
    for (at = 0; at < list.count; at++) {
        if (list.steps[at].status == PENDING && !do_step(&list.steps[at])) {
            say("stopped; goes on when Windows starts next");
            return 0;
        }
    }
    return finish(restarts);
}

static void WINAPI service_main(DWORD count, WCHAR **arguments) {
    struct wide name;
    DWORD failures;
    wide_start(&name, service_name, ARRAYSIZE(service_name));
    if (count) wide_add(&name, arguments[0]);
    status_handle = RegisterServiceCtrlHandlerExW(service_name, control, NULL);
    if (!status_handle) return;
    report(SERVICE_START_PENDING, 30000, 0);
    stop_event = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (!stop_event || !find_here()) {
        report(SERVICE_STOPPED, 0, 1);
        return;
    }
    log_open(beside(L"\\firstboot.log"));
    report(SERVICE_START_PENDING, 30000, 0);
    /* Windows starts its other services only now. */
    report(SERVICE_RUNNING, 0, 0);
    failures = work();
    report(SERVICE_STOPPED, 0, failures);
}

static void print(const WCHAR *text) {
    static char bytes[3 * 32767];
    DWORD written;
    int length = WideCharToMultiByte(CP_UTF8, 0, text, -1, bytes, sizeof bytes, NULL, NULL);
    if (length > 1) WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), bytes, (DWORD)length - 1, &written, NULL);
    WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), "\r\n", 2, &written, NULL);
}

static void print_bytes(const char *bytes) {
    struct wide wide;
    wide_start(&wide, command_text, ARRAYSIZE(command_text));
    wide_add_bytes(&wide, CP_UTF8, bytes, length_of(bytes));
    print(command_text);
}

/* On a console: says what would be run, and whether the list is as it was written. */
static UINT check(void) {
    DWORD length = 0, at;
    const char *wrong = "it cannot be read";
    struct wide wide;
    char *bytes;
    print_bytes("This is Replant's first boot service; only Windows' service manager starts it. Its steps:");
    if (find_here() && (bytes = read_file(beside(L"\\firstboot.steps"), MOST_LIST, &length))) {
        wrong = list_read(&list, bytes, length);
    }
    if (wrong) {
        print_bytes("firstboot.steps is damaged:");
        print_bytes(wrong);
        return 1;
    }
    for (at = 0; at < list.count; at++) {
        print_bytes(list.steps[at].name);
        wide_start(&wide, command_text, ARRAYSIZE(command_text));
        expand(&wide, list.steps[at].value, here, 0);
        print(command_text);
    }
    return 0;
}

void launcher(void) {
    static SERVICE_TABLE_ENTRYW table[2];
    /* The name in the table counts for nothing in a process of one service. */
    InitializeCriticalSection(&status_lock);
    service_status.dwCurrentState = SERVICE_START_PENDING;
    table[0].lpServiceName = service_name;
    table[0].lpServiceProc = service_main;
    if (StartServiceCtrlDispatcherW(table)) ExitProcess(0);
    ExitProcess(GetLastError() == ERROR_FAILED_SERVICE_CONTROLLER_CONNECT ? check() : 1);
}
