<?php
// Writes a pre-sign request, or follows the outcomes: php presign.php request CODE | outcomes [COUNT]
//
// From the environment: KAFKA (brokers), KAFKA_CA (PEM file of their authority: TLS), KAFKA_USER and
// KAFKA_PASSWORD (with TLS; KAFKA_MECHANISM: PLAIN, or SCRAM-SHA-256 or -512), GROUP (orders-php).
// Needs the extension rdkafka (pecl install rdkafka).
declare(strict_types=1);

function kafka(array $settings): RdKafka\Conf
{
    $conf = new RdKafka\Conf();
    $conf->set('bootstrap.servers', getenv('KAFKA') ?: '127.0.0.1:9092');
    if (getenv('KAFKA_CA') !== false) {
        $settings += ['security.protocol' => 'ssl', 'ssl.ca.location' => getenv('KAFKA_CA')];
    }
    if (getenv('KAFKA_USER') !== false) {
        $settings = ['security.protocol' => 'sasl_ssl', 'sasl.mechanism' => getenv('KAFKA_MECHANISM') ?: 'PLAIN',
            'sasl.username' => getenv('KAFKA_USER'), 'sasl.password' => getenv('KAFKA_PASSWORD')] + $settings;
    }
    foreach ($settings as $name => $value) {
        $conf->set($name, $value);
    }
    return $conf;
}

/** Sends one event; returns TOPIC/PARTITION/OFFSET, which is the id of its outcome. */
function request(string $code): string
{
    $event = [
        'specversion' => '1.0',
        'id' => bin2hex(random_bytes(16)),
        'source' => '/orders',
        'type' => 'wechatpay.presign.app.requested',
        'mchid' => '1900007291',
        // The user does not wait longer than this; a later call is useless.
        'expirytime' => gmdate('Y-m-d\TH:i:s\Z', time() + 120),
        'data' => [
            'appid' => 'wxd678efh567hg6787',
            'plan_id' => 12535,
            'out_contract_code' => $code,
            'contract_display_account' => '微信代扣用户A',
            'contract_notify_url' => 'https://yourapp.com/notify',
        ],
    ];
    $delivered = null;
    // The partitioner of Java clients, so that all producers use the same one.
    $conf = kafka(['enable.idempotence' => 'true', 'partitioner' => 'murmur2_random']);
    $conf->setDrMsgCb(function ($producer, RdKafka\Message $message) use (&$delivered) {
        $delivered = $message;
    });
    $producer = new RdKafka\Producer($conf);
    $producer->newTopic('presign.requests')->producev(
        RD_KAFKA_PARTITION_UA,
        0,
        json_encode($event, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR),
        $code,
        ['content-type' => 'application/cloudevents+json']
    );
    $producer->flush(30000);
    if ($delivered === null || $delivered->err !== RD_KAFKA_RESP_ERR_NO_ERROR) {
        throw new RuntimeException('not sent: ' . ($delivered?->errstr() ?? 'no answer from Kafka'));
    }
    return "{$delivered->topic_name}/{$delivered->partition}/{$delivered->offset}";
}

/** What the client calls to open the signing page. */
function opening(array $data): array
{
    $answer = $data['response'];
    switch (preg_replace('/^partner-/', '', $data['endpoint'])) {
        case 'app':
            return isset($answer['miniprogram_username'])
                ? ['call' => 'WXLaunchMiniProgram', 'userName' => $answer['miniprogram_username'],
                   'path' => $answer['miniprogram_path']]
                : ['call' => 'WXOpenBusinessWebview', 'businessType' => 12,
                   'queryInfo' => ['pre_entrustweb_id' => $answer['pre_entrustweb_id']]];
        case 'mini-program':
            return ['call' => 'wx.navigateToMiniProgram', 'appId' => $answer['redirect_appid'],
                    'path' => $answer['redirect_path'],
                    'extraData' => ['pre_entrustweb_id' => $answer['pre_entrustweb_id']]];
        default:
            return ['call' => 'redirect', 'url' => $answer['redirect_url']];
    }
}

/** Stores $rank if it is the highest of its key so far; returns whether it is. */
function newer(array &$ranks, string $key, array $rank): bool
{
    if (isset($ranks[$key]) && ($ranks[$key] <=> $rank) >= 0) {
        return false;
    }
    $ranks[$key] = $rank;
    return true;
}

/**
 * Stores one outcome in $known and $sessions (your database); returns what is new, or null.
 *
 * The same outcome may come twice, because offsets are committed after handling. An id may have
 * several outcomes, and a code several results. Comparing ranks handles all of this.
 */
function handle(array $outcome, array &$known, array &$sessions): ?array
{
    $data = $outcome['data'];
    $code = $data['out_contract_code'] ?? null;
    $succeeded = str_ends_with($outcome['type'], '.succeeded');
    // A result wins over a failure, then the later issued_at (in seconds) wins, then the later time.
    $rank = [$succeeded, $succeeded ? $data['issued_at'] : '', $outcome['time']];
    if (!newer($known, $outcome['id'], $rank)) {
        return null;
    }
    if (!$succeeded) {
        // The reason may be one that you do not know; retryable says what to do.
        return ['code' => $code, 'failed' => $data['reason'], 'retryable' => $data['retryable']];
    }
    if (!newer($sessions, "{$data['mchid']}/$code", $rank)) {
        return null;
    }
    return ['code' => $code, 'expires_at' => $data['expires_at'], 'open' => opening($data)];
}

/** Follows both topics and prints what is new; ends after $count records, if that is not 0. */
function outcomes(int $count): void
{
    $known = $sessions = [];
    $consumer = new RdKafka\KafkaConsumer(kafka([
        'group.id' => getenv('GROUP') ?: 'orders-php', 'isolation.level' => 'read_committed',
        'auto.offset.reset' => 'earliest', 'enable.auto.commit' => 'false']));
    $consumer->subscribe(['presign.results', 'presign.failures']);
    for ($handled = 0; $count === 0 || $handled < $count;) {
        $message = $consumer->consume(1000);
        if ($message->err === RD_KAFKA_RESP_ERR__TIMED_OUT) {
            continue;
        }
        if ($message->err !== RD_KAFKA_RESP_ERR_NO_ERROR) {
            throw new RuntimeException($message->errstr());
        }
        $news = handle(json_decode($message->payload, true, 512, JSON_THROW_ON_ERROR), $known, $sessions);
        if ($news !== null) {
            echo json_encode($news, JSON_UNESCAPED_SLASHES), "\n";
        }
        $consumer->commit($message);
        $handled++;
    }
    $consumer->close();
}

if (($argv[1] ?? '') === 'request' && $argc === 3) {
    echo request($argv[2]), "\n";
} elseif (($argv[1] ?? '') === 'outcomes') {
    outcomes((int) ($argv[2] ?? 0));
} else {
    fwrite(STDERR, "usage: php presign.php request CODE | outcomes [COUNT]\n");
    exit(64);
}
