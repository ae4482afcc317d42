<?php
// The part of PHP's extension rdkafka that examples/php uses, on librdkafka through FFI: Debian 12
// has no package of the extension, and the test has to run the example all the same.
//
//   php -d ffi.enable=1 -d auto_prepend_file=rdkafka_ffi.php examples/php/presign.php …
declare(strict_types=1);

namespace {
    const RD_KAFKA_PARTITION_UA = -1;
    const RD_KAFKA_RESP_ERR_NO_ERROR = 0;
    const RD_KAFKA_RESP_ERR__TIMED_OUT = -185;
}

namespace RdKafka {
    function library(): \FFI
    {
        static $library = null;
        return $library ??= \FFI::cdef(<<<'C'
            typedef struct rd_kafka_s rd_kafka_t;
            typedef struct rd_kafka_conf_s rd_kafka_conf_t;
            typedef struct rd_kafka_topic_s rd_kafka_topic_t;
            typedef struct rd_kafka_topic_partition_list_s rd_kafka_topic_partition_list_t;
            typedef struct {
                int err; rd_kafka_topic_t *rkt; int32_t partition; void *payload; size_t len;
                void *key; size_t key_len; int64_t offset; void *opaque;
            } rd_kafka_message_t;
            typedef void (*delivered_t)(rd_kafka_t *, const rd_kafka_message_t *, void *);

            const char *rd_kafka_err2str(int);
            const char *rd_kafka_topic_name(const rd_kafka_topic_t *);
            rd_kafka_conf_t *rd_kafka_conf_new(void);
            int rd_kafka_conf_set(rd_kafka_conf_t *, const char *, const char *, char *, size_t);
            void rd_kafka_conf_set_dr_msg_cb(rd_kafka_conf_t *, delivered_t);
            rd_kafka_t *rd_kafka_new(int, rd_kafka_conf_t *, char *, size_t);
            int rd_kafka_producev(rd_kafka_t *, ...);
            int rd_kafka_flush(rd_kafka_t *, int);
            int rd_kafka_poll_set_consumer(rd_kafka_t *);
            rd_kafka_topic_partition_list_t *rd_kafka_topic_partition_list_new(int);
            void *rd_kafka_topic_partition_list_add(rd_kafka_topic_partition_list_t *, const char *, int32_t);
            void rd_kafka_topic_partition_list_destroy(rd_kafka_topic_partition_list_t *);
            int rd_kafka_subscribe(rd_kafka_t *, const rd_kafka_topic_partition_list_t *);
            rd_kafka_message_t *rd_kafka_consumer_poll(rd_kafka_t *, int);
            int rd_kafka_commit_message(rd_kafka_t *, const rd_kafka_message_t *, int);
            void rd_kafka_message_destroy(rd_kafka_message_t *);
            int rd_kafka_consumer_close(rd_kafka_t *);
            void rd_kafka_destroy(rd_kafka_t *);
            C, 'librdkafka.so.1');
    }

    function must(int $error): void
    {
        if ($error !== 0) {
            throw new \RuntimeException(library()->rd_kafka_err2str($error));
        }
    }

    class Conf
    {
        public \FFI\CData $handle;

        public function __construct()
        {
            $this->handle = library()->rd_kafka_conf_new();
        }

        public function set(string $name, string $value): void
        {
            $told = library()->new('char[512]');
            if (library()->rd_kafka_conf_set($this->handle, $name, $value, $told, 512) !== 0) {
                throw new \RuntimeException(\FFI::string($told));
            }
        }

        public function setDrMsgCb(callable $call): void
        {
            library()->rd_kafka_conf_set_dr_msg_cb(
                $this->handle,
                fn ($client, $message, $opaque) => $call(null, new Message($message))
            );
        }

        public function client(int $kind): \FFI\CData
        {
            $told = library()->new('char[512]');
            return library()->rd_kafka_new($kind, $this->handle, $told, 512)
                ?? throw new \RuntimeException(\FFI::string($told));
        }
    }

    class Message
    {
        public int $err = RD_KAFKA_RESP_ERR__TIMED_OUT;
        public ?string $topic_name = null;
        public int $partition = -1;
        public int $offset = -1;
        public ?string $payload = null;

        public function __construct(public ?\FFI\CData $raw)
        {
            if ($raw === null) {
                return;
            }
            $this->err = $raw->err;
            $this->partition = $raw->partition;
            $this->offset = $raw->offset;
            if ($raw->rkt !== null) {
                $this->topic_name = library()->rd_kafka_topic_name($raw->rkt);
            }
            if ($raw->payload !== null) {
                $this->payload = \FFI::string($raw->payload, $raw->len);
            }
        }

        public function errstr(): string
        {
            return library()->rd_kafka_err2str($this->err);
        }
    }

    class ProducerTopic
    {
        public function __construct(private \FFI\CData $client, private string $name)
        {
        }

        public function producev(int $partition, int $flags, string $value, string $key, array $headers): void
        {
            // The tags of enum rd_kafka_vtype_t; RD_KAFKA_MSG_F_COPY is 2.
            $tags = [1, $this->name, 3, $partition, 7, $flags | 2, 4, $value, strlen($value), 5, $key, strlen($key)];
            foreach ($headers as $name => $content) {
                array_push($tags, 9, $name, $content, strlen($content));
            }
            must(library()->rd_kafka_producev($this->client, ...[...$tags, 0]));
        }
    }

    class Producer
    {
        private \FFI\CData $client;

        public function __construct(Conf $conf)
        {
            $this->client = $conf->client(0);
        }

        public function newTopic(string $name): ProducerTopic
        {
            return new ProducerTopic($this->client, $name);
        }

        public function flush(int $timeoutMs): int
        {
            return library()->rd_kafka_flush($this->client, $timeoutMs);
        }

        /** Its threads have to be gone before PHP unloads the library. */
        public function __destruct()
        {
            library()->rd_kafka_destroy($this->client);
        }
    }

    class KafkaConsumer
    {
        private \FFI\CData $client;
        private ?Message $last = null;

        public function __construct(Conf $conf)
        {
            $this->client = $conf->client(1);
            must(library()->rd_kafka_poll_set_consumer($this->client));
        }

        public function subscribe(array $topics): void
        {
            $list = library()->rd_kafka_topic_partition_list_new(count($topics));
            foreach ($topics as $topic) {
                library()->rd_kafka_topic_partition_list_add($list, $topic, -1);
            }
            must(library()->rd_kafka_subscribe($this->client, $list));
            library()->rd_kafka_topic_partition_list_destroy($list);
        }

        public function consume(int $timeoutMs): Message
        {
            $this->forget();
            return $this->last = new Message(library()->rd_kafka_consumer_poll($this->client, $timeoutMs));
        }

        public function commit(Message $message): void
        {
            must(library()->rd_kafka_commit_message($this->client, $message->raw, 0));
        }

        public function close(): void
        {
            must(library()->rd_kafka_consumer_close($this->client));
        }

        private function forget(): void
        {
            if ($this->last?->raw !== null) {
                library()->rd_kafka_message_destroy($this->last->raw);
            }
            $this->last = null;
        }

        public function __destruct()
        {
            $this->forget();
            library()->rd_kafka_destroy($this->client);
        }
    }
}
