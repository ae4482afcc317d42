/* What the unit's service may read. `presignctl check` runs as root, the service does not: it has a
 * user without rights, does not see /home, /root and the real /tmp, and gets @NAMEs by
 * LoadCredential=. The unit's files are read as systemd.unit(5) places them.
 */
#include "ctl/check/online.h"

#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "presignd/config/config.h"
#include "presignd/config/read.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534, LINE_MAX_BYTES = 4096, GROUPS_MAX = 16 };

static const char *const unit_dirs[] = {
    "/etc/systemd/system",     "/run/systemd/system", "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system", "/lib/systemd/system",
};

/* Of the units' own files and their drop-ins. */
struct unit {
    struct buf credentials; /* names and globs, each between line feeds */
    gid_t group;
    gid_t groups[GROUPS_MAX]; /* SupplementaryGroups=; those beyond are left out */
    size_t group_count;
    bool found;
};

struct files {
    struct online *online;
    struct unit unit;
};

/* --- The unit --- */

static void take_credential(struct unit *unit, const char *value)
{
    if (*value == '\0') { /* an empty assignment clears the list */
        unit->credentials.len = 0;
        return;
    }
    buf_putc(&unit->credentials, '\n');
    buf_append(&unit->credentials, value, strcspn(value, ":"));
    buf_putc(&unit->credentials, '\n');
}

/* NOBODY for a group that does not exist. */
static gid_t group_named(const char *name)
{
    const struct group *group = getgrnam(name);
    return group == NULL ? NOBODY : group->gr_gid;
}

static void take_groups(struct unit *unit, char *value)
{
    if (*value == '\0') { /* as above */
        unit->group_count = 0;
    }
    for (char *name; (name = strsep(&value, " \t")) != NULL;) {
        if (*name != '\0' && unit->group_count < GROUPS_MAX) {
            unit->groups[unit->group_count++] = group_named(name);
        }
    }
}

/* The rest of the line when it assigns this setting, else NULL. */
static char *assigned(char *line, const char *setting)
{
    size_t len = strlen(setting);
    return strncmp(line, setting, len) == 0 ? line + len : NULL;
}

static void take_line(struct unit *unit, char *line)
{
    static const char *const credentials[] = {
        "LoadCredential=", "LoadCredentialEncrypted=", "SetCredential=", "SetCredentialEncrypted=",
        "ImportCredential="};
    line[strcspn(line, "\r\n")] = '\0';
    for (size_t i = 0; i < ARRAY_LENGTH(credentials); i++) {
        const char *credential = assigned(line, credentials[i]);
        if (credential != NULL) {
            take_credential(unit, credential);
        }
    }
    const char *group = assigned(line, "Group=");
    char *groups = assigned(line, "SupplementaryGroups=");
    if (group != NULL) {
        unit->group = group_named(group);
    } else if (groups != NULL) {
        take_groups(unit, groups);
    }
}

static bool take_file(struct unit *unit, const char *path)
{
    char line[LINE_MAX_BYTES];
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        take_line(unit, line);
    }
    (void)fclose(file);
    return true;
}

static void take_drop_ins(struct unit *unit, const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(unit_dirs); i++) {
        AUTO_FREE char *pattern = mem_printf("%s/%s.d/*.conf", unit_dirs[i], name);
        glob_t found;
        if (glob(pattern, 0, NULL, &found) == 0) {
            for (size_t j = 0; j < found.gl_pathc; j++) {
                (void)take_file(unit, found.gl_pathv[j]);
            }
            globfree(&found);
        }
    }
}

/* Of the service and of its template: either may be in use, with the same configuration. */
static void read_units(struct unit *unit)
{
    static const char *const names[] = {"presignd.service", "presignd@.service"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        bool found = false;
        for (size_t j = 0; !found && j < ARRAY_LENGTH(unit_dirs); j++) {
            AUTO_FREE char *path = mem_printf("%s/%s", unit_dirs[j], names[i]);
            found = take_file(unit, path);
        }
        unit->found = unit->found || found;
    }
    take_drop_ins(unit, "presignd.service");
    take_drop_ins(unit, "presignd@*.service");
}

/* --- One file --- */

static bool has_credential(const struct unit *unit, const char *name)
{
    AUTO_BUF struct buf text = {0};
    buf_append(&text, unit->credentials.data == NULL ? "" : unit->credentials.data,
               unit->credentials.len);
    buf_putc(&text, '\n');
    char *rest = text.data, *one;
    while ((one = strsep(&rest, "\n")) != NULL) {
        if (*one != '\0' && fnmatch(one, name, 0) == 0) {
            return true;
        }
    }
    return false;
}

static const char *hidden_by(const char *path)
{
    static const char *const hidden[][2] = {
        {"/home/", "ProtectHome="}, {"/root/", "ProtectHome="},   {"/run/user/", "ProtectHome="},
        {"/tmp/", "PrivateTmp="},   {"/var/tmp/", "PrivateTmp="},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(hidden); i++) {
        if (strncmp(path, hidden[i][0], strlen(hidden[i][0])) == 0) {
            return hidden[i][1];
        }
    }
    return NULL;
}

/* In a process of its own, as a user without rights. 0, or the errno. */
static int open_as_service(const char *path, const struct unit *unit)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        gid_t group = unit->group;
        bool dropped = setgroups(unit->group_count, unit->groups) == 0 &&
                       setresgid(group, group, group) == 0 &&
                       setresuid(NOBODY, NOBODY, NOBODY) == 0;
        int fd = dropped ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;
        _exit(fd >= 0 ? 0 : errno);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
        return EAGAIN;
    }
    return WEXITSTATUS(status);
}

static void found(struct files *files, const char *key, enum severity severity, const char *is,
                  const char *mend)
{
    online_add(files->online, "files", key, severity, is, "the service can read it",
               "it has a user of its own, and sees less than root", mend);
}

static void look_at_credential(struct files *files, const char *key, const char *name)
{
    AUTO_FREE char *mend = mem_printf("systemctl edit presignd, and add: "
                                      "LoadCredential=%s:/etc/presignd/keys/%s",
                                      name, name);
    bool has = has_credential(&files->unit, name);
    AUTO_FREE char *is =
        mem_printf("credential %s is %s by presignd.service", name, has ? "given" : "not given");
    found(files, key, has ? SEVERITY_OK : SEVERITY_ERROR, is, has ? NULL : mend);
}

static void look_at_path(struct files *files, const char *key, const char *path)
{
    const char *hidden = hidden_by(path);
    if (hidden != NULL) {
        AUTO_FREE char *is = mem_printf("%s: the unit hides it (%s)", path, hidden);
        found(files, key, SEVERITY_ERROR, is, "move it below /etc/presignd");
        return;
    }
    if (geteuid() != 0) {
        AUTO_FREE char *is = mem_printf("%s: only root can try it as the service's user", path);
        found(files, key, SEVERITY_UNKNOWN, is, NULL);
        return;
    }
    int error = open_as_service(path, &files->unit);
    AUTO_FREE char *is = mem_printf("%s: %s", path, error == 0 ? "readable" : strerror(error));
    found(files, key, error == 0 ? SEVERITY_OK : SEVERITY_ERROR, is,
          error == 0 ? NULL : "let all users read it, or pass it as a credential");
}

/* `text` has one path, or several, separated by one of these characters. */
static void look_at(struct files *files, const char *key, const char *text, const char *separators)
{
    AUTO_FREE char *copy = mem_strdup(text == NULL ? "" : text);
    char *rest = copy, *one;
    while ((one = strsep(&rest, separators)) != NULL) {
        one += strspn(one, " \t");
        if (*one == '@') {
            look_at_credential(files, key, one + 1);
        } else if (*one == '/') {
            look_at_path(files, key, one);
        }
    }
}

/* --- All of them --- */

static void look_at_kafka(struct files *files, const struct config *config)
{
    for (size_t i = 0; i < config->property_count; i++) {
        const struct config_property *property = &config->properties[i];
        const char *name = property->name;
        size_t len = strlen(name), suffix = strlen(".location");
        bool is_path = len > suffix && strcmp(name + len - suffix, ".location") == 0;
        if (is_path || property->value[0] == '@') {
            AUTO_FREE char *key = mem_printf("kafka.%s", name);
            look_at(files, key, property->value, "");
        }
    }
}

static void look_at_merchant(struct files *files, const struct config_merchant *merchant)
{
    AUTO_FREE char *private_key = mem_printf("merchant %s.private_key", merchant->mchid);
    AUTO_FREE char *public_key = mem_printf("merchant %s.wechatpay_public_key", merchant->mchid);
    AUTO_FREE char *certificates = mem_printf("merchant %s.platform_certificates", merchant->mchid);
    look_at(files, private_key, merchant->private_key, "");
    look_at(files, public_key, merchant->wechatpay_public_key, "");
    look_at(files, certificates, merchant->platform_certificates, ",");
}

static void look_at_all(struct files *files, const struct config *config)
{
    look_at(files, "daemon.schema_dir", config->daemon.schema_dir, ":");
    look_at(files, "endpoint.ca_file", config->endpoint.ca_file, "");
    look_at_kafka(files, config);
    for (size_t i = 0; i < config->merchant_count; i++) {
        look_at_merchant(files, &config->merchants[i]);
    }
}

void online_files(struct online *online, const struct ctl_config *options)
{
    const char *path = options->path == NULL ? CONFIG_DEFAULT_PATH : options->path;
    struct files files = {.online = online, .unit = {.group = NOBODY}};
    AUTO_BUF struct buf problems = {0};
    struct config *config = ctl_config_gather(options, &problems); /* with @NAMEs as they are */
    if (strcmp(path, CONFIG_DEFAULT_PATH) == 0) {
        read_units(&files.unit);
    }
    if (files.unit.found) {
        look_at_all(&files, config);
    } else {
        AUTO_FREE char *is =
            mem_printf("%s is not the configuration of an installed unit: not looked at", path);
        found(&files, NULL, SEVERITY_UNKNOWN, is, NULL);
    }
    config_free(config);
    buf_deinit(&files.unit.credentials);
}
