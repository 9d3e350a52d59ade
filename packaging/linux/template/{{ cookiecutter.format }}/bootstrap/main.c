/* The program of the package: the system's Python library, told where the app lies, running the app's module.
 *
 * sys.executable is this file. It takes no `-c` and no `-m`: whatever it is given are the app's own arguments.
 */
#include <Python.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define APP_NAME "{{ cookiecutter.app_name }}"
#define MODULE "{{ cookiecutter.module_name }}"
#define STDLIB "/usr/lib/python{{ cookiecutter.python_version|py_tag }}"

static void fail_on(PyStatus status, PyConfig *config) {
    if (PyStatus_Exception(status)) {
        PyConfig_Clear(config);
        Py_ExitStatusException(status); /* says why on stderr and ends */
    }
}

static void add_path(PyConfig *config, const char *path) {
    wchar_t *text = Py_DecodeLocale(path, NULL);
    PyStatus status = text ? PyWideStringList_Append(&config->module_search_paths, text) : PyStatus_NoMemory();
    PyMem_RawFree(text);
    fail_on(status, config);
}

/* The folder that holds bin/ and lib/, from the real place of this program: /usr, or wherever a tree was unpacked. */
static void find_prefix(char *prefix, size_t size) {
    ssize_t length = readlink("/proc/self/exe", prefix, size - 1);
    if (length <= 0 || (size_t)length >= size - 1) {
        fputs(APP_NAME ": /proc/self/exe cannot be read\n", stderr);
        exit(1);
    }
    prefix[length] = '\0';
    for (int step = 0; step < 2; step++) { /* the file's name, then bin */
        char *slash = strrchr(prefix, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
    }
}

int main(int argc, char *argv[]) {
    char prefix[PATH_MAX];
    char path[PATH_MAX + 128];
    PyPreConfig preconfig;
    PyConfig config;

    find_prefix(prefix, sizeof prefix);

    PyPreConfig_InitIsolatedConfig(&preconfig); /* no PYTHON* variables, no user's site-packages */
    preconfig.utf8_mode = 1;
    preconfig.configure_locale = 1;
    PyConfig_InitIsolatedConfig(&config);
    fail_on(Py_PreInitialize(&preconfig), &config);

    config.site_import = 0;
    config.write_bytecode = 0;
    config.install_signal_handlers = 1; /* Ctrl+C is KeyboardInterrupt, as under python */
    snprintf(path, sizeof path, "%s/bin/" APP_NAME, prefix);
    fail_on(PyConfig_SetBytesString(&config, &config.executable, path), &config);
    fail_on(PyConfig_SetBytesString(&config, &config.run_module, MODULE), &config);
    fail_on(PyConfig_SetBytesArgv(&config, argc, argv), &config);

    config.module_search_paths_set = 1;
    add_path(&config, STDLIB);
    add_path(&config, STDLIB "/lib-dynload");
    snprintf(path, sizeof path, "%s/lib/" APP_NAME "/app", prefix);
    add_path(&config, path);
    snprintf(path, sizeof path, "%s/lib/" APP_NAME "/app_packages", prefix);
    add_path(&config, path);

    fail_on(Py_InitializeFromConfig(&config), &config);
    PyConfig_Clear(&config);
    return Py_RunMain(); /* also turns SystemExit and KeyboardInterrupt into exit codes */
}
