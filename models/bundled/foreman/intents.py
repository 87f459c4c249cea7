"""The intents: which devices each is for, the wordings to learn from, and those kept back for the test.

In a wording `(a|b)` is a choice, `[a]` is there half of the time, `!` at the front marks an imperative, which may follow "could you", and
commands.py fills the slots: {d} a device, {b} the same without article, {dp} a device with or without its place, {p} a place with its
preposition, {pn} a place, {v} a number with or without its unit, {V} with it, {n} a number alone, {q} a quantity; {item}, {material},
{name}, {time}, {day}, {fault}, {note}, {person}; and {made}, {anyone}, {anyday}, {digits}, which no answer repeats.
"""

from phrases import ALL, DOORS, HEATING, LEVELLED, LOCKED, MACHINES, POWERED, SHUTTERS, VALVES

INTENTS = {
    "switch_on": {
        "devices": POWERED,
        "train": [
            "!(turn|switch|put) on {dp}", "!(turn|switch|put|flip) {dp} on", "!power (up|on) {dp}", "!power {dp} up", "!turn {d} {p} on",
            "!{p} (turn|switch) on {d}", "{dp} on", "(i want|we need|i need) {dp} (on|switched on|turned on)",
            "!have {dp} (switched|turned) on", "!(enable|activate) {dp}", "it is too (dark|cold|hot) {p} (turn|switch) {d} on",
            "{dp} should be on", "!make sure {dp} is on", "{d} on {p}", "!get {dp} (switched|turned) on", "on with {dp}",
            "!see that {dp} is (turned|switched) on",
        ],
        "held": [
            "{dp} (must|needs to) be (on|switched on)", "!{p} have {d} (switched|turned) on", "i would like {dp} (on|turned on)",
        ],
    },
    "switch_off": {
        "devices": POWERED,
        "train": [
            "!(turn|switch) off {dp}", "!(turn|switch|flip) {dp} off", "!power (down|off) {dp}", "!shut (off|down) {dp}",
            "!shut {dp} (off|down)", "!turn {d} {p} off", "!{p} (turn|switch) off {d}", "{dp} off",
            "(i want|we need|i need) {dp} (off|switched off|turned off)", "!kill {dp}", "!(disable|deactivate) {dp}",
            "nobody is {p} (turn|switch) {d} off", "{dp} should be off", "!make sure {dp} is off", "{d} off {p}",
            "!have {dp} (switched|turned) off", "{dp} (must|needs to) be (off|switched off)", "!{p} have {d} (switched|turned) off",
            "i would like {dp} (off|turned off)", "off with {dp}",
        ],
        "held": [
            "!get {dp} (switched|turned) off", "!power {dp} (off|down)", "!see that {dp} is (turned|switched) off",
        ],
    },
    "start": {
        "devices": MACHINES,
        "train": [
            "!start {dp}", "!start up {dp}", "!start {dp} up", "!run {dp}", "!fire up {dp}", "!get {dp} (going|running)",
            "!{p} start {d}", "!start {d} {p}", "!begin running {dp}", "(i want|we need|i need) {dp} (running|to run|started)",
            "!set {dp} going", "!launch {dp}", "{dp} (can|should|must) start [now]", "!let {dp} run", "!have {dp} started",
            "!get {dp} started", "time to (start|run) {dp}", "!fire {dp} up", "!bring {dp} up and running",
            "!(start|run) the {b} that is {p}",
        ],
        "held": [
            "!have {dp} (running|going)", "{dp} (needs to|has to) (start|run)", "!get {dp} up and running",
        ],
    },
    "stop": {
        "devices": MACHINES,
        "train": [
            "!stop {dp}", "!halt {dp}", "!{p} stop {d}", "!stop {d} {p}", "!bring {dp} to a (stop|halt|standstill)", "stop stop {dp}",
            "!stop running {dp}", "!stop {dp} from running", "(i want|we need|i need) {dp} (stopped|to stop)", "!make {dp} stop",
            "{dp} (can|should|must) stop [now]", "emergency stop {dp}", "!have {dp} stopped", "!(stop|halt) the {b} that is {p}",
            "{dp} (needs to|has to) (stop|halt)", "!do an emergency stop of {dp}",
        ],
        "held": [
            "!get {dp} stopped", "time to (stop|halt) {dp}", "{dp} stop",
        ],
    },
    "pause": {
        "devices": MACHINES,
        "train": [
            "!pause {dp}", "!put {dp} on hold", "!hold {dp}", "!{p} pause {d}", "!pause {d} {p}",
            "(i want|we need|i need) {dp} (paused|on hold)", "!suspend {dp}", "!make {dp} pause", "!hold {dp} for a moment",
            "!have {dp} paused", "{dp} should pause", "!pause {dp} for a (bit|moment|while)", "!get {dp} paused",
            "{dp} (needs to|has to) (pause|wait)", "!(pause|suspend) the {b} that is {p}",
        ],
        "held": [
            "time to pause {dp}", "!put a hold on {dp}",
            "!let {dp} pause [for a moment]",
        ],
    },
    "resume": {
        "devices": MACHINES,
        "train": [
            "!resume {dp}", "!continue {dp}", "!{p} resume {d}", "!resume {d} {p}", "!carry on with {dp}", "!let {dp} continue",
            "!take {dp} off hold", "!unpause {dp}", "{dp} (can|may|should) (continue|resume|carry on)", "!go on with {dp}",
            "!have {dp} resumed", "(i want|we need) {dp} to (resume|continue)", "time to (resume|unpause) {dp}",
            "{dp} (needs to|has to) (continue|resume)",
        ],
        "held": [
            "!get {dp} resumed", "!make {dp} (continue|resume)", "!(resume|continue) the {b} that is {p}",
        ],
    },
    "open": {
        "devices": SHUTTERS | VALVES | DOORS,
        "train": [
            "!open {dp}", "!open up {dp}", "!open {dp} up", "!{p} open {d}", "!open {d} {p}",
            "(i want|we need|i need) {dp} (open|opened)", "!have {dp} opened", "!make sure {dp} is open", "it is stuffy {p} open {d}",
            "{dp} should be open", "!pull {dp} open", "{dp} open", "!swing {dp} open", "!get {dp} (open|opened)",
            "i would like {dp} (open|opened)", "!(open|open up) the {b} that is {p}",
        ],
        "held": [
            "{dp} (must|needs to) be (open|opened)", "!see that {dp} is open",
            "!have {d} open {p}",
        ],
    },
    "close": {
        "devices": SHUTTERS | VALVES | DOORS,
        "train": [
            "!close {dp}", "!shut {dp}", "!close {dp} up", "!{p} (close|shut) {d}", "!(close|shut) {d} {p}",
            "(i want|we need|i need) {dp} (closed|shut)", "!have {dp} closed", "!make sure {dp} is (closed|shut)",
            "it is windy {p} (close|shut) {d}", "{dp} should be (closed|shut)", "!pull {dp} (shut|closed)", "{dp} (closed|shut)",
            "!push {dp} shut", "{dp} (must|needs to) be (closed|shut)", "!see that {dp} is (closed|shut)",
        ],
        "held": [
            "!get {dp} (closed|shut)", "i would like {dp} (closed|shut)", "!(close|shut) the {b} that is {p}",
        ],
    },
    "lock": {
        "devices": LOCKED,
        "train": [
            "!lock {dp}", "!lock up {dp}", "!lock {dp} up", "!{p} lock {d}", "!lock {d} {p}", "(i want|we need|i need) {dp} locked",
            "!have {dp} locked", "!make sure {dp} is locked", "{dp} should be locked", "!secure {dp}", "!bolt {dp}",
            "lock {dp} we are leaving", "!get {dp} locked", "i would like {dp} locked", "!lock the {b} that is {p}",
        ],
        "held": [
            "{dp} (must|needs to) be locked", "!see that {dp} is locked",
            "!have {d} locked {p}",
        ],
    },
    "unlock": {
        "devices": LOCKED,
        "train": [
            "!unlock {dp}", "!{p} unlock {d}", "!unlock {d} {p}", "(i want|we need|i need) {dp} unlocked", "!have {dp} unlocked",
            "!make sure {dp} is unlocked", "{dp} should be unlocked", "!release the lock (of|on) {dp}", "!undo the lock (of|on) {dp}",
            "unlock {dp} someone is coming", "!take the lock off {dp}", "{dp} (must|needs to) be unlocked", "!see that {dp} is unlocked",
        ],
        "held": [
            "!get {dp} unlocked", "i would like {dp} unlocked", "!unlock the {b} that is {p}",
        ],
    },
    "set_speed": {
        "devices": MACHINES, "unit": "speed",
        "train": [
            "!(set|put|bring|adjust|change) {dp} to {v}", "!(set|change|adjust|bring) the speed of {dp} to {v}", "!run {dp} at {v}",
            "!{p} (set|put) {d} to {v}", "!(set|put|bring) {d} to {v} {p}", "!(speed {dp} up|slow {dp} down) to {v}",
            "!(speed up|slow down) {dp} to {v}", "(i want|i need|we need) {dp} (at|on) {v}", "{dp} to {v}",
            "!make {dp} (run|go|turn) at {v}", "speed of {dp} at {v}", "!set {dp} speed to {v}", "{dp} should (run|go) at {v}",
            "!let {dp} run at {v}", "!(increase|reduce|lower|raise) {dp} to {v}", "{v} for {dp}", "!take {dp} (up|down) to {v}",
            "!get {dp} (running|going) at {v}", "{dp} (needs to|has to|must) (run|go) at {v}", "!dial {dp} to {v}",
            "!(increase|reduce|lower|raise) the speed of {dp} to {v}", "!set a speed of {v} on {dp}",
        ],
        "held": [
            "!have {dp} run at {v}", "i would like {dp} at {v}",
            "!have the speed of {dp} at {v}",
        ],
    },
    "set_temperature": {
        "devices": HEATING, "unit": "temperature",
        "train": [
            "!(set|put|turn|bring|adjust|change) {dp} to {v}", "!(set|change|adjust) the temperature of {dp} to {v}",
            "!{p} (set|put|turn) {d} to {v}", "!(set|put|turn) {d} to {v} {p}", "!turn {dp} (up|down) to {v}",
            "(i want|i need|we need) {dp} (at|on) {v}", "{dp} to {v}", "!heat {pn} to {v}", "!(make|keep) it {v} {p}", "!set {pn} to {v}",
            "{v} for {dp}", "!set the temperature {p} to {v}", "!(warm|cool|heat) {pn} to {v}", "{dp} should be at {v}",
            "!keep {dp} at {v}", "temperature {p} to {v}", "!(increase|reduce|lower|raise) {dp} to {v}", "!run {dp} at {v}",
            "{dp} (needs to|has to|must) be at {v}", "!dial {dp} to {v}", "i would like {dp} at {v}", "i would like it {v} {p}",
        ],
        "held": [
            "!get {dp} to {v}", "!(increase|lower|raise) the temperature {p} to {v}", "!bring the temperature of {dp} to {v}",
        ],
    },
    "set_level": {
        "devices": LEVELLED, "unit": "percent",
        "train": [
            "!(set|put|turn|bring|adjust|change) {dp} to {v}", "!{p} (set|put|turn) {d} to {v}", "!(set|put|turn) {d} to {v} {p}",
            "!(dim|open|close|raise|lower) {dp} to {v}", "!turn {dp} (up|down) to {v}", "(i want|i need|we need) {dp} (at|on) {v}",
            "{dp} to {v}", "{v} for {dp}", "{dp} should be at {v}", "!keep {dp} at {v}", "!set the level of {dp} to {v}",
            "!(increase|reduce) {dp} to {v}", "!make {dp} {v}", "!open {dp} (up to|to about) {v}", "!get {dp} to {v}",
            "!dial {dp} to {v}", "!set a level of {v} on {dp}",
        ],
        "held": [
            "{dp} (needs to|has to|must) be at {v}", "i would like {dp} at {v}", "!have {dp} at {v}",
        ],
    },
    "set_pressure": {
        "devices": {name: MACHINES[name] for name in ("press", "pump", "compressor", "packer", "washer")}
        | {"boiler": ["boiler"], "tank": ["tank"]},
        "unit": "pressure",
        "train": [
            "!(set|put|bring|adjust|change) {dp} to {V}", "!(set|change|adjust|bring) the pressure of {dp} to {v}",
            "!set the pressure (on|in) {dp} to {v}", "!run {dp} at {V}", "!{p} (set|put) {d} to {V}",
            "(i want|i need|we need) {dp} (at|on) {V}", "{dp} to {V}", "pressure of {dp} at {v}", "{dp} should (run|be) at {V}",
            "{V} for {dp}", "!pump {dp} up to {V}", "!(increase|reduce|lower|raise) {dp} to {V}", "!take {dp} (up|down) to {V}",
            "{dp} (needs to|has to|must) be at {V}", "!dial {dp} to {V}", "!(increase|reduce|lower|raise) the pressure of {dp} to {v}",
        ],
        "held": [
            "!get {dp} to {V}", "!set a pressure of {v} on {dp}",
        ],
    },
    "set_timer": {
        "unit": "duration",
        "train": [
            "!set a timer (for|of|to) {V}", "!set a {V} timer", "!start a timer (for|of) {V}", "!start a {V} timer for the {name}",
            "!set a timer for the {name} (for|of) {V}", "timer {V}", "{V} timer [please]", "!time {V} for the {name}",
            "!set a {name} timer (for|to|of) {V}", "!set a timer (for|of|to) {V} for the {name}", "!remind me in {V}", "!wake me in {V}",
            "!count down {V}", "!set the timer to {V}", "i need a timer (for|of) {V}", "{name} timer {V}",
            "!remind me of the {name} in {V}", "!give me a timer (for|of) {V}", "!run a timer for {V}",
            "i need a {name} timer (for|of) {V}", "!(set|start) a countdown of {V}", "!put the timer on {V}", "!tell me when {V} are over",
        ],
        "held": [
            "!make a {V} timer for the {name}", "!put {V} on the timer",
            "!set the {name} timer to {V}", "!start a countdown for the {name} of {V}",
        ],
    },
    "set_alarm": {
        "train": [
            "!set an alarm (for|at) {time}", "!set an alarm for {time} {day}", "!set an alarm {day} at {time}", "!wake me [up] at {time}",
            "!wake me [up] {day} at {time}", "!wake me [up] at {time} {day}", "alarm (at|for) {time}", "alarm {day} {time}",
            "!set the alarm to {time}", "!ring at {time} {day}", "i need an alarm (for|at) {time} [please]",
            "{day} at {time} wake me [up]", "!set a {name} alarm for {time}", "!remind me at {time} of the {name}",
            "!remind me {day} at {time}", "!set an alarm for the {name} {day} at {time}", "i (want|have) to get up at {time} {day}",
            "!put an alarm on {time}", "{time} {day} wake me up", "!set the {name} alarm to {time}", "!remind me of the {name} {day} at {time}",
            "i want a {name} alarm (for|at) {time}",
        ],
        "held": [
            "!give me an alarm at {time}", "!make an alarm for {time} {day}", "i need a {name} alarm for {time}",
            "!remind me of the {name} at {time}",
        ],
    },
    "cancel_timer": {
        "train": [
            "!cancel the timer", "!cancel the {name} timer", "!(stop|delete|remove|clear) the {name} timer",
            "!(stop|delete|remove|clear) the timer", "!turn off the {name} timer", "!cancel the timer for the {name}",
            "forget the {name} timer", "no more timer", "i do not need the {name} timer", "i do not need the timer any more",
            "{name} timer off", "!cancel my {name} timer", "!get rid of the {name} timer", "!(drop|end) the {name} timer", "!drop the timer",
            "!(stop|clear) the timer for the {name}", "forget the timer for the {name}",
        ],
        "held": [
            "the {name} timer can go",
            "!end the timer", "!cancel the timer of the {name}",
        ],
    },
    "cancel_alarm": {
        "train": [
            "!cancel the alarm", "!cancel the {time} alarm", "!(stop|delete|remove|clear) the alarm (at|for) {time}",
            "!(stop|delete|remove|clear) the alarm", "!turn off the {time} alarm", "!cancel the alarm {day} at {time}",
            "forget the {time} alarm", "no more alarm", "i do not need the alarm at {time}", "i do not need the alarm any more",
            "{name} alarm off", "!cancel my {name} alarm", "!cancel the {name} alarm", "!cancel the alarm for {day}",
            "!get rid of the {time} alarm", "!(drop|end) the {name} alarm", "the alarm at {time} can go", "!remove the {name} alarm",
            "!remove the alarm {day} at {time}", "forget the alarm {day}", "forget about the alarm (at|for) {time}",
        ],
        "held": [
            "!(stop|clear) the {time} alarm", "forget the alarm at {time}",
            "!clear the alarm {day} at {time}",
        ],
    },
    "read_sensor": {
        "devices": MACHINES | HEATING | {"tank": ["tank"], "silo": ["silo"]},
        "train": [
            "what is the {q} {p}", "what's the {q} {p}", "what is the {q} of {dp}", "what's the {q} of {dp}",
            "!(tell|give) me the {q} {p}", "!(tell|give) me the {q} of {dp}", "!read [me] the {q} {p}", "!read [out] the {q} of {dp}",
            "how high is the {q} {p}", "how high is the {q} of {dp}", "!check the {q} {p}", "!check the {q} (of|on) {dp}", "{q} {p}",
            "{q} of {dp}", "!show [me] the {q} {p}", "i need the {q} (of|on) {dp}", "do you know the {q} {p}", "!measure the {q} {p}",
            "{p} what is the {q}", "{dp} {q}", "how much {q} (is there|do we have) {p}", "!get me the {q} (sensor|reading) {p}",
            "what {q} do we have {p}", "what does the {q} sensor (say|read|show) {p}", "!look up the {q} {p}", "how is the {q} {p}",
            "!find out the {q} of {dp}", "{p} how is the {q}",
        ],
        "held": [
            "!let me know the {q} (of|on) {dp}", "i want to know the {q} {p}", "{p} how high is the {q}", "!report the {q} {p}",
        ],
    },
    "status": {
        "devices": ALL,
        "train": [
            "what is the (status|state) of {dp}", "what's the (status|state) of {dp}",
            "is {dp} (running|on|off|open|closed|working|ready)", "how is {dp} doing", "!check on {dp}", "status of {dp}",
            "!(tell|give) me the (status|state) of {dp}", "!show [me] the (status|state) of {dp}", "what is {dp} doing", "{dp} status",
            "!check (if|whether) {dp} is (running|on|open|working)", "did {dp} stop", "is {d} {p} (running|on|off|open|closed|working)",
            "!tell me (if|whether) {dp} is (running|off|closed|ready)", "how is {dp}", "is {dp} still (running|on|open)",
            "i want to know the (status|state) of {dp}", "!look up the (status|state) of {dp}", "what about the status of {dp}", "!tell me how {dp} is doing",
            "!let me know the (status|state) of {dp}", "do you know the (status|state) of {dp}",
            "!find out (if|whether) {dp} is (running|working)",
        ],
        "held": [
            "!let me know (if|whether) {dp} is (running|on|open)", "do you know (if|whether) {dp} is (running|on|off|open)",
            "!show me how {dp} is doing",
        ],
    },
    "count_parts": {
        "train": [
            "!count the {item} {p}", "!count the {item}", "how many {item} are (there|left) {p}",
            "how many {item} (do we have|are there|have we got)", "!count {item} {p}", "!tell me how many {item} are {p}",
            "number of {item} {p}", "!give me the (count|number) of {item} {p}", "!{p} count the {item}",
            "what is the (count|number) of {item} {p}", "how many {item} did we make {p}", "!check how many {item} we have",
            "i need a count of the {item} {p}", "count of {item} {p}", "{p} how many {item} are there", "!do a count of the {item} {p}",
            "i want to know how many {item} we have", "!find out how many {item} there are {p}",
            "!add up the {item} {p}", "what number of {item} are there {p}", "what amount of {item} do we have {p}",
        ],
        "held": [
            "!let me know how many {item} are {p}", "i need the number of {item} {p}", "what number of {item} (is|do we have) {p}",
        ],
    },
    "report_fault": {
        "devices": ALL,
        "train": [
            "{dp} is {fault}", "!report [that] {dp} is {fault}", "!report a fault on {dp} it is {fault}",
            "there is a problem with {dp} it is {fault}", "we have a problem {dp} is {fault}", "i think {dp} is {fault}",
            "!note that {dp} is {fault}", "{p} {d} is {fault}", "something is wrong with {dp} it is {fault}", "{d} {p} is {fault}",
            "it looks like {dp} is {fault}", "{dp} is {fault} [again]", "!tell maintenance [that] {dp} is {fault}",
            "fault on {dp} {fault}", "!report {fault} on {dp}", "{dp} keeps {fault}", "!let maintenance know [that] {dp} is {fault}",
            "trouble with {dp} it is {fault}", "it seems [that] {dp} is {fault}", "the problem with {dp} is it is {fault}",
            "i noticed [that] {dp} is {fault}", "!note down that {dp} is {fault}",
        ],
        "held": [
            "!write down that {dp} is {fault}",
            "there is a fault on {dp} it is {fault}", "!report the problem {dp} is {fault}",
        ],
    },
    "order_material": {
        "unit": "amount",
        "train": [
            "!order {V} of {material}", "!order {n} {item}", "!order [some] more {material}", "we need {V} of {material}",
            "we need {n} {item}", "!buy {V} of {material}", "!buy {n} {item}", "!get [us] {V} of {material}",
            "we are [almost] out of {material} order {V}", "i need {V} of {material} delivered",
            "!put {V} of {material} on the order list", "!put {n} {item} on the order list", "{V} of {material} please",
            "!place an order for {V} of {material}", "!place an order for {n} {item}", "!reorder {material}", "!order {material}",
            "!reorder {n} {item}", "!order {V} of {material} for {pn}", "we are running low on {material} (get|buy) {V}",
            "i want {n} {item} delivered", "!have {V} of {material} delivered", "we could use {V} of {material}",
            "!add {n} {item} to the order [list]", "!add {V} of {material} to the list", "!fetch [us] {n} {item}",
            "!put {V} of {material} on the order",
        ],
        "held": [
            "!make an order for {V} of {material}", "!add {V} of {material} to the order [list]", "!get [us] {n} {item}",
        ],
    },
    "play_sound": {
        "train": [
            "!play {name}", "!play {name} {p}", "!put on {name}", "!put {name} on {p}", "!{p} play {name}", "!play some {name} {p}",
            "!play me {name}", "i want to hear {name}", "i would like to hear {name} {p}", "!start playing {name} {p}",
            "let me hear {name}", "can i hear {name} {p}", "{name} {p} please play it", "!play {name} on the (speaker|speakers|radio)",
            "!let us hear {name} {p}", "!start {name} playing {p}", "i feel like hearing {name}", "!put some {name} on {p}",
            "we want to hear {name} {p}",
        ],
        "held": [
            "can we hear {name} {p}", "!play us {name}",
            "i need to hear {name} {p}",
        ],
    },
    "stop_sound": {
        "train": [
            "!stop the (music|sound|song)", "!stop the (music|sound|song) {p}", "!turn off the (music|sound) {p}",
            "!stop playing [music]", "!stop playing (music|it) {p}", "!mute the (music|sound) {p}", "!{p} stop the music",
            "no more music {p}", "silence {p}", "be quiet", "!cut the music {p}", "music off {p}", "!end the music",
            "!shut the music off {p}", "quiet please", "enough music {p}", "no more sound {p}", "!turn the (music|sound) off {p}",
            "quiet {p}",
        ],
        "held": [
            "!kill the (music|sound) {p}", "the music {p} (should|can|must) stop", "sound off",
        ],
    },
    "log_maintenance": {
        "devices": ALL,
        "train": [
            "!log that {person} {note} on {dp}", "!log that we {note} on {dp}", "!log maintenance on {dp} {note}", "!log for {dp} {note}",
            "!write in the log [that] {person} {note} on {dp}", "{person} {note} on {dp} log it",
            "i {note} on {dp} (log it|put it in the log)", "maintenance log {dp} {note}", "!add to the [maintenance] log {note} on {dp}",
            "!put in the log [that] i {note} on {dp}", "!log [that] i {note} on {dp}", "maintenance on {dp} {note} [by {person}]",
            "!make a log entry {dp} {note}", "log entry for {dp} {note}", "!record that {person} {note} on {dp}",
            "!note in the log [that] {person} {note} on {dp}", "for the log i {note} on {dp}",
            "!enter in the log [that] we {note} on {dp}", "!log on {dp} that {person} {note}", "!record that i {note} on {dp}",
            "!enter in the log [that] {person} {note} on {dp}",
        ],
        "held": [
            "!add a log entry for {dp} {note}", "!record that we {note} on {dp}",
            "!put in the log [that] {person} {note} on {dp}",
        ],
    },
    "unknown": {
        "train": [
            "what is the capital of {made}", "!tell me a (joke|story|riddle)", "!book a (flight|table|hotel) (to|in|at) {made}",
            "!send (an email|a message|flowers) to {anyone}", "how are you [today]", "who (are you|made you|is {anyone})",
            "what is {digits} (plus|times|minus) {digits}", "!translate {made} into (french|german|spanish)", "!call {anyone}",
            "i am (tired|hungry|bored|happy|going home)", "nice (weather|work|day) today",
            "!do not (start|stop|open|close|lock|unlock|pause|resume) {dp}", "!(don't|never) (turn|switch) (on|off) {dp}",
            "!(don't|do not) set {dp} to {digits} percent", "the uh", "set the", "turn", "could you", "{dp}", "{made} {made}",
            "{made} {made} {made}", "where is {anyone}", "!write a (poem|letter|song) about {made}", "do you like {made}",
            "when does the (bus|train|shop) (leave|close|open)", "!find me a (recipe|doctor|hotel)", "why is the sky blue",
            "{anyone} said hello", "never mind", "forget it", "good (morning|night|evening)", "thank you",
            "(we|they) won the (game|match)", "i like {made}", "did you see {anyone}", "how (old|tall) is {anyone}",
            "how much is a {made}", "!(spell|explain|define) {made}", "my (dog|cat|car) is called {made}", "how far is it to {made}",
            "is it going to (rain|snow) {anyday}", "!share this with {anyone}", "how do i get to {made}", "what did {anyone} say",
            "it was a {made} day", "!transfer {digits} euros to {anyone}", "what is the price of {made}", "what time is it",
            "what day is it", "you (should|may) not (start|stop|open|close|turn on|turn off) {dp}",
            "(i|we) (don't|do not) want {dp} (on|off|open|locked|to start)", "!buy a (present|ticket|drink) for {anyone}",
            "!order a (taxi|pizza) for {anyone}", "how many (days|weeks) until {anyday}",
            "how many (friends|children) does {anyone} have", "!post a picture of {made}", "!read me a (book|poem) by {anyone}",
            "are you a (robot|person)", "what is your (job|age)", "what is {made}", "who is the king of {made}",
            "where can i (buy|find) a {made}", "!show me a film with {anyone}", "what language do they speak in {made}",
            "!reserve a (seat|room) (in|at) {made}", "what is your (name|favourite colour)", "!please don't (start|stop|open|close) {dp}",
            "who won the (game|match) {anyday}", "is {anyone} married", "!buy tickets to {made}", "how many people live in {made}",
        ],
        "held": [
            "!tell me a story about {made}", "!text {anyone} that i am late", "i (love|hate) {made}",
            "you must not (start|stop|open|close|lock) {dp}", "have you met {anyone}", "!email {anyone} about {made}",
            "how far is it from {made} to {made}",
        ],
    },
}
