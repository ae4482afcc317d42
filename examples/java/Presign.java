import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Writes a pre-sign request, or follows the outcomes: java Presign.java request CODE | outcomes [COUNT]
 *
 * <p>From the environment: KAFKA (brokers), KAFKA_CA (PEM file of their authority: TLS), KAFKA_USER
 * and KAFKA_PASSWORD (with TLS; KAFKA_MECHANISM: PLAIN, or SCRAM-SHA-256 or -512), GROUP
 * (orders-java). pom.xml lists the class path.
 */
class Presign {
    static final Map<String, String> ENVIRONMENT = System.getenv();
    static final ObjectMapper JSON = new ObjectMapper();

    /** Properties of every client, and `more`. */
    static Map<String, Object> kafka(Map<String, Object> more) {
        Map<String, Object> settings = new HashMap<>(more);
        settings.put("bootstrap.servers", ENVIRONMENT.getOrDefault("KAFKA", "127.0.0.1:9092"));
        if (ENVIRONMENT.containsKey("KAFKA_CA")) {
            settings.put("security.protocol", "SSL");
            settings.put("ssl.truststore.type", "PEM");
            settings.put("ssl.truststore.location", ENVIRONMENT.get("KAFKA_CA"));
        }
        if (ENVIRONMENT.containsKey("KAFKA_USER")) {
            String mechanism = ENVIRONMENT.getOrDefault("KAFKA_MECHANISM", "PLAIN");
            String kind = mechanism.startsWith("SCRAM") ? "scram.Scram" : "plain.Plain";
            settings.put("security.protocol", "SASL_SSL");
            settings.put("sasl.mechanism", mechanism);
            settings.put("sasl.jaas.config", "org.apache.kafka.common.security." + kind
                + "LoginModule required username=" + quoted(ENVIRONMENT.get("KAFKA_USER"))
                + " password=" + quoted(ENVIRONMENT.get("KAFKA_PASSWORD")) + ";");
        }
        return settings;
    }

    static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }

    /** Sends one event; returns TOPIC/PARTITION/OFFSET, which is the id of its outcome. */
    static String request(String code) throws Exception {
        ObjectNode event = JSON.createObjectNode()
            .put("specversion", "1.0")
            .put("id", UUID.randomUUID().toString())
            .put("source", "/orders")
            .put("type", "wechatpay.presign.app.requested")
            .put("mchid", "1900007291")
            // The user does not wait longer than this; a later call is useless.
            .put("expirytime", Instant.now().plus(2, ChronoUnit.MINUTES).toString());
        event.putObject("data")
            .put("appid", "wxd678efh567hg6787")
            .put("plan_id", 12535)
            .put("out_contract_code", code)
            .put("contract_display_account", "微信代扣用户A")
            .put("contract_notify_url", "https://yourapp.com/notify");
        ProducerRecord<String, String> record = new ProducerRecord<>("presign.requests", code, event.toString());
        record.headers().add("content-type", "application/cloudevents+json".getBytes());
        Map<String, Object> settings = kafka(Map.of("enable.idempotence", true));
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            RecordMetadata sent = producer.send(record).get();
            return sent.topic() + "/" + sent.partition() + "/" + sent.offset();
        }
    }

    /** What the client calls to open the signing page. */
    static ObjectNode opening(JsonNode data) {
        JsonNode answer = data.get("response");
        ObjectNode open = JSON.createObjectNode();
        switch (data.get("endpoint").textValue().replaceFirst("^partner-", "")) {
            case "app":
                if (answer.has("miniprogram_username")) {
                    return open.put("call", "WXLaunchMiniProgram")
                        .put("userName", answer.get("miniprogram_username").textValue())
                        .put("path", answer.get("miniprogram_path").textValue());
                }
                open.put("call", "WXOpenBusinessWebview").put("businessType", 12)
                    .putObject("queryInfo").set("pre_entrustweb_id", answer.get("pre_entrustweb_id"));
                return open;
            case "mini-program":
                open.put("call", "wx.navigateToMiniProgram")
                    .put("appId", answer.get("redirect_appid").textValue())
                    .put("path", answer.get("redirect_path").textValue())
                    .putObject("extraData").set("pre_entrustweb_id", answer.get("pre_entrustweb_id"));
                return open;
            default:
                return open.put("call", "redirect").put("url", answer.get("redirect_url").textValue());
        }
    }

    /**
     * Orders outcomes: a result wins over a failure, then the later issuedAt (in seconds, EPOCH in a
     * failure) wins, then the later completedAt.
     */
    record Rank(boolean succeeded, Instant issuedAt, Instant completedAt) {
        static final Comparator<Rank> ORDER = Comparator.comparing(Rank::succeeded)
            .thenComparing(Rank::issuedAt).thenComparing(Rank::completedAt);

        static Rank of(JsonNode outcome) {
            boolean succeeded = outcome.get("type").textValue().endsWith(".succeeded");
            return new Rank(succeeded,
                succeeded ? Instant.parse(outcome.get("data").get("issued_at").textValue()) : Instant.EPOCH,
                Instant.parse(outcome.get("time").textValue()));
        }
    }

    /** Stores `rank` if it is the highest of its key so far; returns whether it is. */
    static boolean newer(Map<String, Rank> ranks, String key, Rank rank) {
        Rank known = ranks.get(key);
        if (known != null && Rank.ORDER.compare(known, rank) >= 0) {
            return false;
        }
        ranks.put(key, rank);
        return true;
    }

    /**
     * Stores one outcome in `known` and `sessions` (your database); returns what is new, or null.
     *
     * <p>The same outcome may come twice, because offsets are committed after handling. An id may have
     * several outcomes, and a code several results. Comparing ranks handles all of this.
     */
    static ObjectNode handle(JsonNode outcome, Map<String, Rank> known, Map<String, Rank> sessions) {
        JsonNode data = outcome.get("data");
        String code = data.path("out_contract_code").textValue();
        ObjectNode news = JSON.createObjectNode().put("code", code);
        Rank rank = Rank.of(outcome);
        if (!newer(known, outcome.get("id").textValue(), rank)) {
            return null;
        }
        if (!rank.succeeded()) {
            // The reason may be one that you do not know; retryable says what to do.
            return news.put("failed", data.get("reason").textValue())
                .put("retryable", data.get("retryable").booleanValue());
        }
        if (!newer(sessions, data.get("mchid").textValue() + "/" + code, rank)) {
            return null;
        }
        news.put("expires_at", data.get("expires_at").textValue()).set("open", opening(data));
        return news;
    }

    /** Follows both topics and prints what is new; ends after `count` records, if that is not 0. */
    static void outcomes(int count) throws Exception {
        Map<String, Rank> known = new HashMap<>();
        Map<String, Rank> sessions = new HashMap<>();
        Map<String, Object> settings = kafka(Map.of("group.id", ENVIRONMENT.getOrDefault("GROUP", "orders-java"),
            "isolation.level", "read_committed", "auto.offset.reset", "earliest", "enable.auto.commit", false));
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of("presign.results", "presign.failures"));
            for (int handled = 0; count == 0 || handled < count; ) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofSeconds(1))) {
                    ObjectNode news = handle(JSON.readTree(record.value()), known, sessions);
                    if (news != null) {
                        System.out.println(news);
                    }
                    handled++;
                }
                consumer.commitSync();
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length == 2 && arguments[0].equals("request")) {
            System.out.println(request(arguments[1]));
        } else if (arguments.length >= 1 && arguments[0].equals("outcomes")) {
            outcomes(arguments.length > 1 ? Integer.parseInt(arguments[1]) : 0);
        } else {
            System.err.println("usage: Presign request CODE | outcomes [COUNT]");
            System.exit(64);
        }
    }
}
