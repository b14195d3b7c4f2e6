/* What no program of Windows does alike from 2008 R2 (no network cmdlets) to 2025 (no wmic). */
#include <winsock2.h>
#include <ws2tcpip.h>
#include "launcher.h"
#include <iphlpapi.h>
#include <winioctl.h>

typedef ULONG(WINAPI *get_adapters_addresses)(ULONG, ULONG, PVOID, PIP_ADAPTER_ADDRESSES, PULONG);

/* The library is loaded when it is needed: a step may fail without it, the service must not. */
static get_adapters_addresses adapters_function(void) {
    static WCHAR path[MAX_PATH + 16];
    struct wide wide;
    HMODULE library;
    union {
        FARPROC found;
        get_adapters_addresses function;
    } address;
    wide_start(&wide, path, ARRAYSIZE(path));
    wide.length = GetSystemDirectoryW(path, MAX_PATH);
    if (wide.length == 0 || wide.length >= MAX_PATH) return NULL;
    wide_add(&wide, L"\\iphlpapi.dll");
    library = LoadLibraryW(path);
    address.found = library ? GetProcAddress(library, "GetAdaptersAddresses") : NULL;
    return address.function;
}

static BOOL has_mac(const IP_ADAPTER_ADDRESSES *adapter, const char *mac) {
    static const char digits[] = "0123456789abcdef";
    DWORD byte;
    for (byte = 0; byte < 6; byte++, mac += 3) {
        if (mac[0] != digits[adapter->PhysicalAddress[byte] >> 4]) return FALSE;
        if (mac[1] != digits[adapter->PhysicalAddress[byte] & 15]) return FALSE;
        if (mac[2] != (byte < 5 ? ':' : 0)) return FALSE;
    }
    return TRUE;
}

DWORD adapters(const char *mac, DWORD *indexes) {
    get_adapters_addresses get = adapters_function();
    ULONG size = 64 * 1024, flags = GAA_FLAG_SKIP_ANYCAST | GAA_FLAG_SKIP_MULTICAST | GAA_FLAG_SKIP_DNS_SERVER;
    DWORD count = 0, attempt;
    for (attempt = 0; get && attempt < 3; attempt++) {
        IP_ADAPTER_ADDRESSES *all = HeapAlloc(GetProcessHeap(), 0, size), *adapter;
        ULONG answer = all ? get(AF_UNSPEC, flags, NULL, all, &size) : ERROR_NOT_ENOUGH_MEMORY;
        for (adapter = answer == NO_ERROR ? all : NULL; adapter && count < MOST_ADAPTERS; adapter = adapter->Next) {
            DWORD index = adapter->IfIndex ? adapter->IfIndex : adapter->Ipv6IfIndex;
            if (adapter->IfType != IF_TYPE_ETHERNET_CSMACD || adapter->PhysicalAddressLength != 6) continue;
            if (has_mac(adapter, mac)) indexes[count++] = index;
        }
        if (all) HeapFree(GetProcessHeap(), 0, all);
        if (answer != ERROR_BUFFER_OVERFLOW || size > 16 * 1024 * 1024) break;
    }
    return count;
}

/* A text value; FALSE when it is none, or too long to be what is looked for. */
static BOOL text_value(HKEY key, const WCHAR *name, WCHAR *text, DWORD room) {
    DWORD type, size = (room - 1) * sizeof(WCHAR);
    if (RegQueryValueExW(key, name, NULL, &type, (BYTE *)text, &size) != ERROR_SUCCESS) return FALSE;
    if (type != REG_SZ && type != REG_EXPAND_SZ) return FALSE;
    text[size / sizeof(WCHAR)] = 0;
    return TRUE;
}

/* The product code in an UninstallString, `MsiExec.exe /I{…}`, or nothing. */
static BOOL product_code(const WCHAR *text, WCHAR *code) {
    DWORD at;
    while (*text && *text != L'{') text++;
    for (at = 0; at < GUID_LENGTH; at++) {
        WCHAR found = text[at];
        BOOL dash = at == 9 || at == 14 || at == 19 || at == 24;
        BOOL digit = (found >= L'0' && found <= L'9') || (found >= L'A' && found <= L'F') || (found >= L'a' && found <= L'f');
        if (at == 0 ? found != L'{' : at == GUID_LENGTH - 1 ? found != L'}' : dash ? found != L'-' : !digit) return FALSE;
        code[at] = found;
    }
    code[GUID_LENGTH] = 0;
    return TRUE;
}

DWORD products(const char *name, WCHAR found[MOST_PRODUCTS][GUID_LENGTH + 1]) {
    static const REGSAM views[2] = {KEY_WOW64_64KEY, KEY_WOW64_32KEY};
    static WCHAR wanted[256], shown[256], command[1024], key_name[256];
    DWORD count = 0, view;
    struct wide wide;
    wide_start(&wide, wanted, ARRAYSIZE(wanted));
    wide_add_bytes(&wide, CP_UTF8, name, length_of(name));
    for (view = 0; view < 2; view++) {
        HKEY all, key;
        DWORD index, length;
        if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, L"SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Uninstall", 0,
                          KEY_READ | views[view], &all) != ERROR_SUCCESS) {
            continue;
        }
        for (index = 0; count < MOST_PRODUCTS; index++) {
            length = ARRAYSIZE(key_name);
            if (RegEnumKeyExW(all, index, key_name, &length, NULL, NULL, NULL, NULL) != ERROR_SUCCESS) break;
            if (RegOpenKeyExW(all, key_name, 0, KEY_READ | views[view], &key) != ERROR_SUCCESS) continue;
            if (text_value(key, L"DisplayName", shown, ARRAYSIZE(shown)) && lstrcmpiW(shown, wanted) == 0) {
                BOOL has_command = text_value(key, L"UninstallString", command, ARRAYSIZE(command));
                if (has_command && product_code(command, found[count])) {
                    DWORD earlier = 0;
                    while (earlier < count && lstrcmpiW(found[earlier], found[count]) != 0) earlier++;
                    if (earlier == count) count++;
                } else {
                    say("%s was not installed by Windows Installer and stays: %w", name, has_command ? command : key_name);
                }
            }
            RegCloseKey(key);
        }
        RegCloseKey(all);
    }
    return count;
}

#ifndef IOCTL_DISK_GET_DISK_ATTRIBUTES
/* winioctl.h of Windows' SDK has these; they are of Windows 7 and Server 2008 R2. */
#define IOCTL_DISK_GET_DISK_ATTRIBUTES CTL_CODE(IOCTL_DISK_BASE, 0x003c, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_DISK_SET_DISK_ATTRIBUTES \
    CTL_CODE(IOCTL_DISK_BASE, 0x003d, METHOD_BUFFERED, FILE_READ_ACCESS | FILE_WRITE_ACCESS)
struct get_attributes {
    DWORD version, reserved;
    DWORDLONG attributes;
};
struct set_attributes {
    DWORD version;
    BYTE persist, reserved[3];
    DWORDLONG attributes, mask;
    DWORD reserved_too[4];
};
#endif
/* Offline and read-only. */
#define BOTH_ATTRIBUTES 3
/* More disks than an instance can have. */
#define MOST_DISKS 128

static BOOL disk_online(HANDLE disk, DWORD number) {
    struct get_attributes is;
    struct set_attributes be;
    DWORD size, failure;
    if (!DeviceIoControl(disk, IOCTL_DISK_GET_DISK_ATTRIBUTES, NULL, 0, &is, sizeof is, &size, NULL)) {
        say("disk %u does not tell whether it is online: Windows error %u", number, GetLastError());
        return FALSE;
    }
    if (!(is.attributes & BOTH_ATTRIBUTES)) return TRUE;
    memset(&be, 0, sizeof be);
    be.version = sizeof be;
    be.persist = TRUE;
    be.mask = BOTH_ATTRIBUTES;
    if (!DeviceIoControl(disk, IOCTL_DISK_SET_DISK_ATTRIBUTES, &be, sizeof be, NULL, 0, &size, NULL)) {
        failure = GetLastError();
        say("disk %u cannot be brought online: Windows error %u", number, failure);
        return FALSE;
    }
    DeviceIoControl(disk, IOCTL_DISK_UPDATE_PROPERTIES, NULL, 0, NULL, 0, &size, NULL);
    say("disk %u is online and writable now", number);
    return TRUE;
}

BOOL disks_online(void) {
    WCHAR path[32];
    struct wide wide;
    DWORD number, found = 0;
    BOOL all = TRUE;
    for (number = 0; number < MOST_DISKS; number++) {
        HANDLE disk;
        wide_start(&wide, path, ARRAYSIZE(path));
        wide_add(&wide, L"\\\\.\\PhysicalDrive");
        wide_add_number(&wide, number);
        disk = CreateFileW(path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0,
                           NULL);
        if (disk == INVALID_HANDLE_VALUE) {
            DWORD failure = GetLastError();
            if (failure == ERROR_FILE_NOT_FOUND || failure == ERROR_PATH_NOT_FOUND) continue;
            say("disk %u cannot be opened: Windows error %u", number, failure);
            all = FALSE;
            continue;
        }
        found++;
        if (!disk_online(disk, number)) all = FALSE;
        CloseHandle(disk);
    }
    say("disks looked at: %u", found);
    return all;
}

BOOL service_is_there(const char *name) {
    static WCHAR path[320];
    struct wide wide;
    HKEY key;
    DWORD type, start, size = sizeof start;
    BOOL there;
    wide_start(&wide, path, ARRAYSIZE(path));
    wide_add(&wide, L"SYSTEM\\CurrentControlSet\\Services\\");
    wide_add_bytes(&wide, CP_UTF8, name, length_of(name));
    if (wide.cut || RegOpenKeyExW(HKEY_LOCAL_MACHINE, path, 0, KEY_READ | KEY_WOW64_64KEY, &key) != ERROR_SUCCESS) {
        return FALSE;
    }
    there = RegQueryValueExW(key, L"Start", NULL, &type, (BYTE *)&start, &size) == ERROR_SUCCESS && type == REG_DWORD
            && start < SERVICE_DISABLED;
    RegCloseKey(key);
    return there;
}

BOOL restart_machine(void) {
    HANDLE token;
    TOKEN_PRIVILEGES privileges;
    BOOL done;
    memset(&privileges, 0, sizeof privileges);
    privileges.PrivilegeCount = 1;
    privileges.Privileges[0].Attributes = SE_PRIVILEGE_ENABLED;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY, &token)) return FALSE;
    done = LookupPrivilegeValueW(NULL, L"SeShutdownPrivilege", &privileges.Privileges[0].Luid)
           && AdjustTokenPrivileges(token, FALSE, &privileges, 0, NULL, NULL);
    CloseHandle(token);
    /* Ten seconds, in which this service ends and is gone. */
    return done
           && InitiateSystemShutdownExW(NULL, NULL, 10, TRUE, TRUE,
                                        SHTDN_REASON_MAJOR_OPERATINGSYSTEM | SHTDN_REASON_MINOR_RECONFIG
                                            | SHTDN_REASON_FLAG_PLANNED);
}

BOOL remove_service(const WCHAR *name) {
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT), service = NULL;
    BOOL disabled = FALSE, removed = FALSE;
    if (manager) service = OpenServiceW(manager, name, DELETE | SERVICE_CHANGE_CONFIG);
    if (service) {
        /* Whoever else has it open delays its deletion, but it shall not start again in any case. */
        disabled = ChangeServiceConfigW(service, SERVICE_NO_CHANGE, SERVICE_DISABLED, SERVICE_NO_CHANGE, NULL, NULL, NULL,
                                        NULL, NULL, NULL, NULL);
        removed = DeleteService(service) || GetLastError() == ERROR_SERVICE_MARKED_FOR_DELETE;
    }
    if (!removed) say("the service cannot be deleted: Windows error %u", GetLastError());
    if (service) CloseServiceHandle(service);
    if (manager) CloseServiceHandle(manager);
    return disabled || removed;
}
