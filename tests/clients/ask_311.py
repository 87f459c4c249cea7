"""An MQTT 3.1.1 client: no properties, so the answer comes beside the request. Prints it."""

import sys

import paho.mqtt.client as mqtt

port, payload = int(sys.argv[1]), sys.argv[2]


def subscribed(client, *_):
    client.publish("hearth/test/infer/negate/7", payload, qos=1)


def answered(client, _, message):
    print(message.payload.decode())
    client.disconnect()


# paho-mqtt 2 wants to be told which of its interfaces is meant; this one both have.
interface = [mqtt.CallbackAPIVersion.VERSION1] if hasattr(mqtt, "CallbackAPIVersion") else []
client = mqtt.Client(*interface, client_id="paho", protocol=mqtt.MQTTv311)
client.on_connect = lambda client, *_: client.subscribe("hearth/test/result/negate/7", qos=1)
client.on_subscribe = subscribed
client.on_message = answered
client.connect("127.0.0.1", port)
client.loop_forever()
