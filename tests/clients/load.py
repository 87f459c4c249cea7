"""Open-loop load: publishes requests at QoS 1 at a fixed rate, whatever becomes of them, until standard input ends; then waits
for the answers. Prints a JSON line with what was published, what was answered, and how. Never publishes a request again.

usage: load.py PORT REQUESTS_A_SECOND
"""

import collections
import json
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE = 30  # seconds without an answer

port, rate = int(sys.argv[1]), float(sys.argv[2])
payload = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]})
answered, statuses = collections.Counter(), collections.Counter()
changed = threading.Condition()
connected, stop = threading.Event(), threading.Event()


def answer(client, _, message):
    with changed:
        request = int(message.properties.CorrelationData)
        if not answered[request]:
            statuses[dict(message.properties.UserProperty)["status"]] += 1
        answered[request] += 1
        changed.notify_all()


interface = [mqtt.CallbackAPIVersion.VERSION1] if hasattr(mqtt, "CallbackAPIVersion") else []
client = mqtt.Client(*interface, client_id="load", protocol=mqtt.MQTTv5)
client.max_inflight_messages_set(100)
client.max_queued_messages_set(0)
client.on_connect = lambda client, *_: client.subscribe("hearth/reply/load", qos=1)
client.on_subscribe = lambda *_: connected.set()
client.on_message = answer
session = Properties(PacketTypes.CONNECT)
session.SessionExpiryInterval = 3600
client.connect("127.0.0.1", port, clean_start=False, properties=session)
client.loop_start()
connected.wait()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()

began, published = time.monotonic(), 0
while not stop.is_set():
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = "hearth/reply/load"
    properties.CorrelationData = str(published).encode()
    client.publish(f"hearth/test/infer/negate/{published}", payload, qos=1, properties=properties)
    published += 1
    stop.wait(max(0, began + published / rate - time.monotonic()))

with changed:
    while len(answered) < published and changed.wait(PATIENCE):
        pass
client.loop_stop()
missing = [request for request in range(published) if not answered[request]]
print(json.dumps({"published": published, "answered": len(answered), "missing": missing[:10], "statuses": statuses,
                  "duplicates": sum(answered.values()) - len(answered)}))
