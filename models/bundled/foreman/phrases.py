"""What commands are made of: names of places, things and devices, units, and the small words around a command.

Lists that end in `_HELD` are for the test alone.
"""

ROOMS = """\
kitchen|hall|hallway|bathroom|bedroom|living room|office|garage|cellar|attic|workshop|warehouse|canteen|lobby|nursery|study|
laundry room|paint shop|boiler room|server room|control room|meeting room|break room|tool room|test lab|loading dock|packing area|
assembly area|welding shop|foundry|greenhouse|garden shed|guest room|dining room|storage room|clean room|compressor room|pantry|porch|
stairwell|conservatory|quality lab|cold store|switch room|locker room|reception|machine shop|press shop|dispatch area|library|sauna|gym|
corridor|utility room|silo room|yard""".replace("\n", "").split("|")
NUMBERED_PLACES = ["line", "bay", "zone", "cell", "station", "floor", "hall", "room", "sector", "dock", "aisle", "building"]
PLACE_NOUNS = ["hall", "room", "workshop", "wing", "building", "yard", "lab", "plant", "office", "depot", "shop", "store", "area", "shed"]
FIRST_NAMES = """\
anna|ben|carla|david|elena|frank|greta|henry|irene|jonas|karin|lukas|maria|nina|oscar|paula|robert|sofia|thomas|ursula|victor|wanda|
yusuf|zoe|ahmed|bruno|chloe|dmitri|emma|felix|george|hannah|ivan|julia|kevin|laura|marco|noah|olga|peter|rosa|simon|tanya|walter|priya|
chen|amara|kofi|mehmet|ingrid|pablo|nadia|stefan|helga|rené|jürgen|zoë|josé""".replace("\n", "").split("|")
DAYS = ["today", "tomorrow", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
ADJECTIVES = """\
steel|brass|copper|plastic|rubber|short|long|small|large|black|white|red|blue|green|galvanized|hardened|spare|left|right|upper|lower|
round|flat|heavy|light duty|stainless|ceramic|wooden|yellow""".replace("\n", "").split("|")
ITEMS = """\
bolts|nuts|washers|screws|brackets|flanges|gaskets|bearings|housings|gears|springs|plates|pins|rods|tubes|valves|caps|clips|hinges|
rivets|sleeves|seals|shafts|pulleys|bottles|cans|boxes|labels|panels|hooks|frames|covers|spacers|couplings|bushings|studs|nozzles|
wheels|handles|lids|trays|pistons|rollers|blades|filters""".replace("\n", "").split("|")
MATERIALS = """\
paint|glue|grease|cutting oil|coolant|sand|cement|resin|solder|wire|cable|tape|sheet metal|gravel|sawdust|detergent|flour|sugar|coffee|
cleaning rags|safety gloves|packing foam|cardboard|plywood|aluminium|copper rod|steel rod|hydraulic oil|salt|toner|ear plugs|
welding gas|bubble wrap|epoxy|insulation|lubricant|thinner|varnish|milk|rice|soap|printer paper|rock wool|primer""".replace("\n", "").split(
    "|"
)
STUFF = ["oil", "water", "coolant", "steam", "grease", "air", "hydraulic fluid", "gas", "dust", "foam"]
NOISES = [
    "grinding",
    "clicking",
    "rattling",
    "squealing",
    "humming",
    "banging",
    "hissing",
    "strange",
    "loud",
    "scraping",
    "ticking",
    "whistling",
]
FAULTS = """\
overheating|stuck|jammed|vibrating|smoking|not responding|too slow|too hot|shaking|tripping the breaker|dropping parts|not closing|
not starting|drawing too much current""".replace("\n", "").split("|")
PARTS = """\
filter|belt|motor|chain|seal|gearbox|bearing|fan|hose|sensor|switch|fuse|cable|pump|blade|nozzle|spindle|roller|lid|guard|brake|clutch|
drive|relay|shaft|gasket|cover|display|button|axle""".replace("\n", "").split("|")
DONE = [
    "changed",
    "replaced",
    "cleaned",
    "checked",
    "oiled",
    "tightened",
    "adjusted",
    "repaired",
    "greased",
    "swapped",
    "inspected",
    "tested",
    "aligned",
    "rinsed",
]
MUSIC = """\
jazz|rain sounds|rock|soft piano|the news|birdsong|whale song|country|techno|white noise|classical music|folk songs|ocean waves|
a podcast|blues|disco|lullabies|the shift bell|smooth jazz|dance music|radio drama|the weather report|swing|opera""".replace(
    "\n", ""
).split("|")
REASONS = """\
pasta|eggs|laundry|glue|oven|tea|break|rice|curing|paint|bread|meeting|soup|roast|shift|backup|pizza|cake|rinse|warm up|wash|dough|
inspection|coffee|cooling|nap|workout""".replace("\n", "").split("|")

# Canonical name: what people say.
MACHINES = {
    "conveyor": ["conveyor", "conveyor", "conveyor belt"],
    "press": ["press"],
    "pump": ["pump"],
    "mixer": ["mixer"],
    "drill": ["drill"],
    "lathe": ["lathe"],
    "saw": ["saw"],
    "compressor": ["compressor"],
    "robot": ["robot", "robot arm"],
    "packer": ["packer", "packing machine"],
    "fan": ["fan", "ventilator"],
    "mill": ["mill", "milling machine"],
    "furnace": ["furnace"],
    "centrifuge": ["centrifuge"],
    "crane": ["crane"],
    "washer": ["washer", "washing machine"],
    "dishwasher": ["dishwasher"],
    "vacuum": ["vacuum", "vacuum cleaner"],
    "labeller": ["labeller", "labelling machine"],
    "agitator": ["agitator", "stirrer"],
    "shredder": ["shredder"],
    "sorter": ["sorter"],
    "welder": ["welder"],
    "printer": ["printer"],
}
LIGHTS = {
    "light": ["light", "lights", "lights"],
    "lamp": ["lamp"],
    "spotlight": ["spotlight", "spotlights"],
    "ceiling light": ["ceiling light", "ceiling lights"],
}
HEATING = {
    "thermostat": ["thermostat"],
    "heater": ["heater"],
    "heating": ["heating"],
    "oven": ["oven"],
    "boiler": ["boiler"],
    "air conditioner": ["air conditioner", "ac", "air con"],
    "freezer": ["freezer"],
    "dryer": ["dryer"],
}
POWERED = (
    LIGHTS
    | HEATING
    | {
        "radio": ["radio"],
        "tv": ["tv", "television"],
        "coffee machine": ["coffee machine"],
        "humidifier": ["humidifier"],
        "screen": ["screen"],
        "charger": ["charger"],
    }
    | {name: MACHINES[name] for name in ("fan", "pump", "compressor", "mixer")}
)
SHUTTERS = {"blinds": ["blinds", "blind"], "curtains": ["curtains"], "shutter": ["shutter", "roller shutter"], "awning": ["awning"]}
VALVES = {"valve": ["valve"], "inlet valve": ["inlet valve"], "drain valve": ["drain valve"], "damper": ["damper"], "vent": ["vent"]}
DOORS = {
    "door": ["door"],
    "gate": ["gate"],
    "window": ["window", "windows"],
    "front door": ["front door"],
    "back door": ["back door"],
    "hatch": ["hatch"],
    "skylight": ["skylight"],
}
LOCKED = DOORS | {"cabinet": ["cabinet"], "safe": ["safe"], "tool chest": ["tool chest"], "locker": ["locker"]}
SOUND = {"speaker": ["speaker", "speakers"], "radio": ["radio"], "volume": ["volume"]}
LEVELLED = LIGHTS | SHUTTERS | VALVES | SOUND
ALL = MACHINES | HEATING | VALVES | SHUTTERS | {"door": ["door"], "gate": ["gate"], "light": ["light", "lights"]}

QUANTITIES = {
    "temperature": ["temperature", "temp"],
    "humidity": ["humidity"],
    "pressure": ["pressure"],
    "vibration": ["vibration", "vibration level"],
    "level": ["level", "fill level", "tank level"],
    "power": ["power", "power draw", "power consumption"],
    "current": ["current"],
    "noise": ["noise level"],
    "flow": ["flow", "flow rate"],
    "co2": ["co2", "co2 level"],
    "speed": ["speed"],
    "weight": ["weight"],
    "voltage": ["voltage"],
}

UNITS = {
    "speed": {
        "percent": ["percent", "percent", "%", "per cent"],
        "rpm": ["rpm", "revs", "revolutions per minute"],
        "m/min": ["meters per minute", "metres a minute"],
        "hz": ["hertz", "hz"],
    },
    "percent": {"percent": ["percent", "percent", "%", "per cent"]},
    "temperature": {"celsius": ["degrees", "degrees", "degrees celsius", "celsius"], "fahrenheit": ["degrees fahrenheit", "fahrenheit"]},
    "pressure": {"bar": ["bar"], "psi": ["psi"], "kpa": ["kilopascal", "kpa"]},
    "duration": {"seconds": ["seconds", "secs"], "minutes": ["minutes", "minutes", "mins"], "hours": ["hours"]},
    "amount": {
        "kg": ["kilos", "kilograms", "kg"],
        "l": ["liters", "litres"],
        "m": ["meters", "metres"],
        "rolls": ["rolls"],
        "boxes": ["boxes"],
        "bags": ["bags"],
        "pallets": ["pallets"],
        "sheets": ["sheets"],
        "packs": ["packs"],
        "drums": ["drums"],
        "crates": ["crates"],
    },
}

FILLERS = ["uh", "um", "er", "like", "well", "you know", "hmm", "so", "ah"]
WAKE = ["foreman", "hey foreman", "ok foreman", "okay", "hello", "hi", "listen", "alright", "right", "ok so", "excuse me"]
WAKE_HELD = ["yo foreman", "good morning foreman", "hey there"]
ASK = [
    "please",
    "could you",
    "can you",
    "can you please",
    "could you please",
    "would you",
    "would you please",
    "will you",
    "i want you to",
    "i need you to",
    "i would like you to",
    "i'd like you to",
    "go ahead and",
    "you can",
    "we need to",
    "let's",
    "just",
    "kindly",
    "please go and",
    "you should",
]
ASK_HELD = ["can i ask you to", "would you just", "i need you to just", "please will you", "could you just"]
AFTER = [
    "please",
    "thanks",
    "thank you",
    "now",
    "right now",
    "for me",
    "right away",
    "immediately",
    "if you can",
    "would you",
    "will you",
    "ok",
    "at once",
    "as soon as possible",
    "when you get a chance",
    "when you have time",
    "as fast as you can",
]
AFTER_HELD = ["thank you now", "as soon as you can", "when you can"]
