/* The log's kinds of events: a MESSAGE_ID each (journald's way to find all of one kind, see
 * systemd.journal-fields(7)), made once by `systemd-id128 new` and never changed. */
#ifndef PRESIGND_OPS_MESSAGES_H
#define PRESIGND_OPS_MESSAGES_H

#define MESSAGE_STARTED "7d6c78b07d7147ba9019c4b2455441b3" /* the daemon started */
#define MESSAGE_READY \
    "9d059dbedeb2482f905b7ba1a11772dc" /* the group was joined; events are worked on */
#define MESSAGE_STOPPED      "273a2427cd4b401db0552265cd340682" /* the daemon stopped */
#define MESSAGE_EVENT_FAILED "1c83ab65e7464552a9082cebca9593aa" /* an event ended as a failure */
#define MESSAGE_MERCHANT_HELD \
    "86a01853ddf84b4a8675d2844e776301" /* a merchant was answered 401 and is held */
#define MESSAGE_MERCHANT_UNVERIFIED                                                                \
    "e62a4edcc2884484b78656a920641946" /* no key of ours verifies a merchant's answers; it is held \
                                        */
#define MESSAGE_MERCHANT_HEARD \
    "8e81a1865cf94644a79a3359bfd65f1f" /* a held merchant is heard again */
#define MESSAGE_ENDPOINT_DOWN \
    "397a533599104f6e8f201f8aae7e3f0d"                         /* the endpoint is down as a whole */
#define MESSAGE_ENDPOINT_UP "08b7ac65d574441f954e38158798e412" /* the endpoint answers again */
#define MESSAGE_TRANSACTION_FAILED \
    "a16ce50ac1ce4527afc6430b5f938a23" /* transactions fail; outcomes wait */
#define MESSAGE_TRANSACTION_WELL                                     \
    "2c7e8f53096149ee94ec0ab866cd64fc" /* transactions succeed again \
                                        */
#define MESSAGE_METADATA_UNREADABLE \
    "4c58a3e338fb4959aa51caa0ce3076ef" /* a committed position's metadata could not be read */
#define MESSAGE_METADATA_SMALL \
    "d452bad7a6014229a8c5ea261849b1c0" /* the broker takes little or too little offset metadata */
#define MESSAGE_TOPIC_SETTING \
    "4345e99d391a433eae25219e075c93a0" /* a topic lacks a setting that presignd rests on */
#define MESSAGE_LOG_RESTARTED                                                                    \
    "a5f3cc1b02d14ab9a7552beba8e79177" /* a partition's log begins anew below what was committed \
                                        */
#define MESSAGE_OUTCOME_REFUSED \
    "c73dd7aa5c3a4595ae3424d94583c4b1" /* an outcome is refused by its topic, for its own sake */
#define MESSAGE_OUTPUT_SHUT \
    "8cadef3737984560a4a8ad83466d8a91" /* an output topic or partition takes no outcomes */
#define MESSAGE_OUTPUT_OPEN "ee73bb32429b441dbec4ce61e5777029" /* it takes them again */
#define MESSAGE_FOREIGN_ANSWER \
    "e8515ab7b21543bc85eb23285206b9dd" /* an answer holds another contract's id */
#define MESSAGE_DESCRIPTORS_SHORT \
    "e4ddac1b80a34cd789cb6128966d5cc0" /* no file descriptor is left for a connection */
#define MESSAGE_STUCK \
    "9351815fd92f430c8d998d8b1ffdecbb" /* something hangs; the watchdog restarts it */
#define MESSAGE_EVENTS_COUNTED \
    "d54a44f75bbc4972bce446146d92374e" /* more events failed than were told one by one */
#define MESSAGE_STOPPING    "19e8a8a92853403983816f1c95caaca5" /* a stop was asked for */
#define MESSAGE_LEFT_BEHIND "73fa8a22a90546eb8ba511561a56d295" /* the time to drain was over */
#define MESSAGE_CLIENT_ENDED \
    "5183a7d97a724abbb0edeea02f3be7dd" /* the Kafka client gave up for good */
#define MESSAGE_CLIENTS_RENEWED \
    "d8c74f00fa704705b2be9cf17fc473fe" /* Kafka's clients were made anew */
#define MESSAGE_CONFIGURATION_WRONG \
    "82bb261f7971474893255a6f0189ad1f" /* the configuration is wrong */
#define MESSAGE_FENCED \
    "9559589ac43f4278a151251b5e9f0a35" /* another process has this instance's name */
#define MESSAGE_RELOADED "47b6c3a8fce4448dbda6a143a68490b4" /* a new configuration is in use */
#define MESSAGE_RELOAD_REFUSED \
    "cf2aaf04078448ce87108595ec251194"                      /* a new configuration was refused */
#define MESSAGE_ASSIGNED "b661a9a089f54e689dca30c5fdeb200e" /* partitions were assigned */
#define MESSAGE_REVOKED                                                      \
    "762373c304e541f9aefb2936f25418cf" /* partitions were given back or lost \
                                        */

#endif
