/* What the unit's service may read. `presignctl check` runs as root, the service does not: it has a
 * user without rights, does not see /home, /root and the real /tmp, and gets @NAMEs by
 * LoadCredential=. */
#include "ctl/check/online.h"
#include "ctl/check/unit.h"

#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "presignd/config/config.h"
#include "presignd/config/read.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534, GROUPS_MAX = 32, LISTED_MAX = 256 };

/* The user whose rights count: the unit's User=, or one without rights in the place of a dynamic
 * one. */
struct service {
    uid_t user;
    gid_t group, groups[GROUPS_MAX];
    size_t group_count;
};

struct files {
    struct online *online;
    struct unit unit;
    struct service service;
};

/* --- One file --- */

static const char *hidden_by(const struct unit *unit, const char *path)
{
    static const struct {
        const char *directory, *setting;
        bool home;
    } hidden[] = {
        {"/home/", "ProtectHome=", true},     {"/root/", "ProtectHome=", true},
        {"/run/user/", "ProtectHome=", true}, {"/tmp/", "PrivateTmp=", false},
        {"/var/tmp/", "PrivateTmp=", false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(hidden); i++) {
        bool sees = hidden[i].home ? unit->sees_home : unit->sees_tmp;
        if (!sees && strncmp(path, hidden[i].directory, strlen(hidden[i].directory)) == 0) {
            return hidden[i].setting;
        }
    }
    return NULL;
}

static gid_t group_number(const char *name)
{
    const struct group *group = *name == '\0' ? NULL : getgrnam(name);
    return group == NULL ? NOBODY : group->gr_gid;
}

static void service_init(struct service *service, const struct unit *unit)
{
    const struct passwd *user = unit->user[0] == '\0' ? NULL : getpwnam(unit->user);
    *service = (struct service){.user = user == NULL ? NOBODY : user->pw_uid,
                                .group = user == NULL ? NOBODY : user->pw_gid};
    if (unit->group[0] != '\0') {
        service->group = group_number(unit->group);
    }
    AUTO_FREE char *names =
        mem_dup(unit->groups.len == 0 ? "" : unit->groups.data, unit->groups.len);
    char *rest = names, *name;
    while ((name = strsep(&rest, " \t")) != NULL && service->group_count < GROUPS_MAX) {
        if (*name != '\0') {
            service->groups[service->group_count++] = group_number(name);
        }
    }
}

/* In a process of its own. 0, or the errno. */
static int open_as_service(const struct service *service, const char *path)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        bool dropped = setgroups(service->group_count, service->groups) == 0 &&
                       setresgid(service->group, service->group, service->group) == 0 &&
                       setresuid(service->user, service->user, service->user) == 0;
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
    AUTO_FREE char *mend = mem_printf("systemctl edit %s, and add: "
                                      "LoadCredential=%s:/etc/presignd/keys/%s; then restart it",
                                      files->unit.name, name, name);
    bool has = unit_has_credential(&files->unit, name);
    AUTO_FREE char *is = mem_printf("credential %s is %s by %s", name, has ? "given" : "not given",
                                    files->unit.name);
    found(files, key, has ? SEVERITY_OK : SEVERITY_ERROR, is, has ? NULL : mend);
}

/* The path, or the file that it leads to by links. */
static const char *hidden_path(const struct files *files, const char *path)
{
    AUTO_FREE char *real = realpath(path, NULL);
    const char *hidden = hidden_by(&files->unit, path);
    return hidden != NULL || real == NULL ? hidden : hidden_by(&files->unit, real);
}

static void look_at_path(struct files *files, const char *key, const char *path)
{
    const char *hidden = hidden_path(files, path);
    if (hidden != NULL) {
        AUTO_FREE char *is = mem_printf("%s: %s hides it (%s)", path, files->unit.name, hidden);
        found(files, key, SEVERITY_ERROR, is, "move it below /etc/presignd");
        return;
    }
    if (geteuid() != 0) {
        AUTO_FREE char *is = mem_printf("%s: only root can try it as the service's user", path);
        found(files, key, SEVERITY_UNKNOWN, is, "run the command as root");
        return;
    }
    int error = open_as_service(&files->service, path);
    AUTO_FREE char *is = mem_printf("%s: %s", path, error == 0 ? "readable" : strerror(error));
    found(files, key, error == 0 ? SEVERITY_OK : SEVERITY_ERROR, is,
          error == 0 ? NULL
          : error == ENOENT
              ? "create it, or correct the path"
              : "let the service's user read it and its directories (never a key: pass a key as a "
                "credential)");
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
    const struct {
        const char *key, *text, *separators;
    } keys[] = {
        {"certificate", merchant->certificate, ""},
        {"private_key", merchant->private_key, ""},
        {"wechatpay_public_key", merchant->wechatpay_public_key, ""},
        {"apiv3_key", merchant->apiv3_key, ""},
        {"platform_certificates", merchant->platform_certificates, ","},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        AUTO_FREE char *key = mem_printf("merchant %s.%s", merchant->mchid, keys[i].key);
        look_at(files, key, keys[i].text, keys[i].separators);
    }
}

/* The files that match; of those in order only the first is worth a line. */
static void look_at_files(struct files *files, const char *key, const char *pattern)
{
    glob_t list;
    if (glob(pattern, 0, NULL, &list) != 0) {
        return;
    }
    for (size_t i = 0; i < list.gl_pathc && i < LISTED_MAX; i++) {
        const char *path = list.gl_pathv[i];
        if (geteuid() == 0 && open_as_service(&files->service, path) != 0) {
            look_at_path(files, key, path);
        }
    }
    globfree(&list);
}

static void look_at_schemas(struct files *files, const char *directories)
{
    AUTO_FREE char *copy = mem_strdup(directories == NULL ? "" : directories);
    char *rest = copy, *one;
    while ((one = strsep(&rest, ":")) != NULL) {
        AUTO_FREE char *pattern = mem_printf("%s/*.json", one);
        if (*one == '/' && access(one, F_OK) == 0) { /* a missing one is skipped */
            look_at_path(files, "daemon.schema_dir", one);
            look_at_files(files, "daemon.schema_dir", pattern);
        }
    }
}

static void look_at_all(struct files *files, const struct config *config, const char *path)
{
    AUTO_FREE char *drop_ins = mem_printf("%s.d/*.conf", path);
    look_at_path(files, "configuration", path);
    look_at_files(files, "configuration", drop_ins);
    look_at_schemas(files, config->daemon.schema_dir);
    look_at(files, "endpoint.ca_file", config->endpoint.ca_file, "");
    look_at(files, "endpoint.proxy_ca_file", config->endpoint.proxy_ca_file, "");
    look_at(files, "endpoint.proxy_ca_file", config->endpoint.proxy_ca_file, "");
    look_at_kafka(files, config);
    for (size_t i = 0; i < config->merchant_count; i++) {
        look_at_merchant(files, &config->merchants[i]);
    }
}

void online_files(struct online *online, const struct ctl_config *options)
{
    AUTO_FREE char *path =
        realpath(options->path == NULL ? CONFIG_DEFAULT_PATH : options->path, NULL);
    struct files files = {.online = online};
    AUTO_BUF struct buf problems = {0};
    struct config *config = ctl_config_gather(options, &problems); /* with @NAMEs as they are */
    if (path != NULL) {
        unit_read(&files.unit, path);
        service_init(&files.service, &files.unit);
    }
    if (files.unit.found) {
        look_at_all(&files, config, path);
    } else {
        AUTO_FREE char *is =
            mem_printf("no installed unit runs %s: what its service may read is not known",
                       path == NULL ? "it" : path);
        found(&files, NULL, SEVERITY_UNKNOWN, is,
              "install presignd.service, or check the configuration that it runs");
    }
    config_free(config);
    unit_deinit(&files.unit);
}
