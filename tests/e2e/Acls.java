import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/**
 * Adds and removes rights of a cluster, and passwords for SCRAM, within milliseconds, where a
 * kafka-acls.sh or kafka-configs.sh for each would take a second. java -cp … Acls.java BOOTSTRAP, then a line each on standard input:
 *
 *   add|remove PRINCIPAL RESOURCE_TYPE PATTERN_TYPE NAME OPERATION
 *   scram USER MECHANISM PASSWORD
 *   list
 *
 * and "done" on standard output when the broker itself goes by it; before that list prints all
 * rights, in the same words.
 */
class Acls {
    public static void main(String[] arguments) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[0]))) {
            BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
            for (String line; (line = input.readLine()) != null; ) {
                String[] word = line.split(" ");
                if (word[0].equals("list")) {
                    list(admin);
                } else if (word[0].equals("scram")) {
                    scram(admin, word[1], ScramMechanism.fromMechanismName(word[2]), word[3]);
                } else {
                    change(admin, word[0].equals("add"), binding(word));
                }
                System.out.println("done");
            }
        }
    }

    static void list(Admin admin) throws Exception {
        for (AclBinding each : admin.describeAcls(AclBindingFilter.ANY).values().get()) {
            System.out.println(String.join(" ", each.entry().principal(),
                each.pattern().resourceType().name(), each.pattern().patternType().name(),
                each.pattern().name(), each.entry().operation().name()));
        }
    }

    static void scram(Admin admin, String user, ScramMechanism mechanism, String password) throws Exception {
        ScramCredentialInfo info = new ScramCredentialInfo(mechanism, 4096);
        admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion(user, info, password))).all().get();
        while (!knows(admin, user, info)) {
            Thread.sleep(2);
        }
    }

    static boolean knows(Admin admin, String user, ScramCredentialInfo info) throws Exception {
        return admin.describeUserScramCredentials().all().get().entrySet().stream()
            .anyMatch(each -> each.getKey().equals(user) && each.getValue().credentialInfos().contains(info));
    }

    static AclBinding binding(String[] word) {
        return new AclBinding(
            new ResourcePattern(ResourceType.fromString(word[2]), word[4], PatternType.valueOf(word[3].toUpperCase())),
            new AccessControlEntry(word[1], "*", AclOperation.fromString(word[5]), AclPermissionType.ALLOW));
    }

    static void change(Admin admin, boolean wanted, AclBinding binding) throws Exception {
        if (wanted) {
            admin.createAcls(List.of(binding)).all().get();
        } else {
            admin.deleteAcls(List.of(binding.toFilter())).all().get();
        }
        while (admin.describeAcls(binding.toFilter()).values().get().isEmpty() == wanted) {
            Thread.sleep(2);
        }
    }
}
