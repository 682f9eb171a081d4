"""English words by what they can be in a caption: the lexicon of the rule-based phrase parser.

A class is one letter, so that the classes of a caption's words are a string that regular expressions can read. A word
that no list has is classed by its ending, and else is a noun. Lists hold what captions use often, not the language.
"""

from __future__ import annotations

SIDES = frozenset(["left", "right", "top", "bottom", "front", "back", "middle"])
"""Sides of things: a relation before "of", an attribute before a noun."""

_ARTICLES = "a an every"
_COUNTS = """all another any both dozen each eight either eleven few fewer five four half hundred less many
    million more most much nine one other seven several six some ten thousand three twelve two"""
_OWNERS = "her his its my no our such the their these this those whose your"
DETERMINERS = frozenset(f"{_ARTICLES} {_COUNTS} {_OWNERS}".split()) - {"whose"}
"""Words that may open a phrase, that end the one before, and that are none alone."""

_SUBJECTS = "he i it she that they we what which who whoever you"
PRONOUNS = frozenset(
    f"""{_SUBJECTS} me him them us whom whose mine yours hers ours theirs myself yourself himself herself itself
    oneself ourselves yourselves themselves themself others someone somebody something anyone anybody anything everyone
    everybody everything nobody nothing none there here whatever""".split()
)
"""Words that stand for a noun and say nothing of what they stand for."""

NO_PHRASE = PRONOUNS | DETERMINERS
"""Words that are no phrase by themselves, nor together: "they", "each other", "all of these"."""

_PREPOSITIONS = """able aboard about above according across after against albeit along alongside although amid
    amidst among amongst around as at atop because before behind below beneath beside besides between beyond but
    by despite down due during except for from full how if in inside into like near nearby nor of off on once onto
    opposite out outside over past per ready since so than though through throughout toward towards unable under
    underneath unless unlike until up upon versus via vs when whenever where wherever whether while whilst why
    with within without yet"""
_AUXILIARIES = """'m 're am appears are aren be become becomes been being feels is isn look looks remains seem
    seems was wasn were weren"""
_HAVE = "'ve get gets getting got had hadn has hasn have haven having"
_MODALS = """'d 'll ca can cannot could did didn do does doesn don let lets may might must shall should to will wo
    would"""
_DEGREES = "almost extremely fairly nearly not quite rather really slightly super too very well"
_ADVERBS = """aback abroad afloat again ahead ajar aloft alone along aloud already also always anymore anywhere
    apart ashore aside asleep astride awake away awhile backward backwards barefoot downhill downstairs downward
    downwards else elsewhere enough etc even ever everywhere far forth forward forwards galore halfway headfirst
    however indoors instead just laden later maybe meanwhile midair midway n't never next now o'clock offshore
    often only onstage outdoors overhead perhaps please safely sideways sometimes somewhere soon still then
    therefore thus together tonight unaware underwater uphill upright upside upstairs upward upwards worthy yes"""

_COLOURS = """beige black blond blonde blue brown brunette crimson cyan gray green grey khaki lavender magenta
    maroon navy pink purple red scarlet tan teal turquoise violet white yellow"""
_MATERIALS = """adult bamboo brick chocolate chrome classic comic concrete coral cotton cream denim female floral
    general glass gold human iron key lace leather light male marble metal native official olive orange oval
    plastic professional public rose senior silk silver square steel stone straw velvet wood wool"""
_ADJECTIVES = """abandoned abstract active adorable aerial african airborne amazing american ancient angry annual
    antique artificial asian athletic attractive available average aware awesome awkward bald bare beautiful best
    better big bigger bright british broken busy calm canadian careful casual central cheap chinese civil
    classical clean clear close closest cloudy cold colorful colourful comfortable commercial common complete
    contemporary cool correct cozy crazy creative cultural curious curly current cute daily damp dangerous dark
    dead decorative deep delicate delicious dense different difficult digital dim dirty double drunk dry dull
    dusty early eastern easy elderly electric elegant empty english enormous entire european evil exotic extra
    extreme fair fallen famous fancy fantastic fast fat favorite favourite few final fine first fit flat fluffy
    foggy foreign formal former free french fresh friendly frosty frozen fun funny furry fuzzy gentle geometric
    german giant gigantic glad gloomy glorious golden good gorgeous gothic grand grassy great grumpy hairy
    handheld handmade handsome happy hard hardwood hazy healthy heavy hidden high higher hilly historic historical
    homeless hooded horizontal hot huge hungry icy ideal impressive indian indoor industrial inflatable innocent
    interesting international intricate islamic italian japanese jewish joyful juicy jumbo junior large larger
    largest last late latest lazy leafy legal lifelike lit little live lively local lone lonely long longest loose
    loud lovely low lower lucky lush luxurious luxury mad magical magnificent main major many married massive
    matching mature medieval medium mexican mini minimal minor misty mixed mobile modern modest moist monochrome
    moody muddy multicolored multiple muscular musical mysterious naked narrow nasty national natural naughty
    nearest neat new newborn next nice noble noisy northern nude numerous odd old older olympic oncoming open
    ordinary ornate outdoor outer outstretched overcast overweight own pale paved peaceful perfect personal
    pinkish plain playful pleasant plump plush polar political poor popular portable possible powerful pregnant
    pretty prime private proud puffy pure quick quiet random rare raw real rear recent rectangular reddish
    religious residential retro rich ripe rocky romantic rotten rough round royal rugged rural rustic rusty sad
    safe same sandy scary scenic seamless second secret separate serene serious sexy shady shaggy shallow sharp
    sheer shiny shirtless short shy sick silent silly similar simple single skinny sleek sleepy slender slim slow
    small smaller smart smooth snowy soapy social soft solar sole solid sorry southern spacious spanish spare
    special spectacular spiky spiral spooky spotless stainless standard steep sticky stormy straight
    straightforward strange stray striking strong stunning sturdy stylish sudden sunlit sunny sure sweaty sweet
    swollen tall taller tasty tattered teenage teeny terrible thai thick thin third tight tiny tired toned topless
    topmost total tough traditional tranquil transparent trendy triangular tropical true typical ugly unfinished
    unhappy unhealthy unidentified unique unlit unusual upper upset urban useful usual vacant various vast
    vertical vibrant victorian vintage visible vivid warm wary wavy weak wealthy weary weird western wet whole
    wide wild wise wonderful wooden woolly wrong young younger youngest yummy"""

_PEOPLE = """actor actress alligator animal ant artist astronaut athlete attendee aunt author baby ballerina
    batter bear beaver bee bicyclist biker bird bishop boarder boxer boy bride bridesmaid brother buffalo bull
    bulldog businessman businesswoman butterfly calf camel caribou cat catcher celebrity cheerleader cheetah chef
    chick child clown coach comedian commuter competitor contestant couch-surfer cousin cow cowboy cowgirl crab
    creature crocodile crow cyclist dad dancer daughter deer designer director diver doctor dog dolphin donkey
    driver drummer duck duke eagle elephant employee engineer fan farmer father firefighter fireman fisherman
    footballer fox friend frog gentleman giraffe girl goalie goalkeeper goat golfer goose gorilla grandfather
    grandmother groom groomsman guitarist guy gymnast hamster hawk hedgehog hen heron hiker hippo horse
    hummingbird husband individual infant infielder jockey kangaroo kayaker kid king kitten koala lady lamb leader
    leopard lion lizard man midfielder model mom monarch monk monkey mother motorcyclist motorist mouse mule
    musician newborn novelist nun nurse officer opponent otter outfielder owl ox panda paraglider parakeet parent
    parrot passenger peacock pedestrian pelican penguin performer person photographer pig pigeon piglet pilgrim
    pitcher player policeman politician pony pope president priest prince princess protester puppy quarterback
    queen rabbit raccoon ram rat referee refugee rescuer retriever rhino rider rooster runner sailor scientist
    seagull seal shark sheepdog shepherd shopper singer skateboarder skater skier skydiver snake snowboarder
    soldier somebody son sparrow spectator spider squirrel stranger student supporter surfer swan swimmer teacher
    teen teenager terrier tiger toddler tourist turtle umpire uncle vendor villager visitor vocalist waiter
    waitress wakeboarder walrus wasp whale wife windsurfer wolf woman worker wrestler youngster youth zebra"""
_PLURAL_PEOPLE = """babies bison businessmen calves cattle children deer elk firemen fish fishermen folks geese
    gentlemen ladies men mice onlookers parents people police policemen pups sheep spectators teammates wolves
    women"""
_GROUPS = """army audience band bunch class couple crew crowd duo family flock group herd pack pair squad team
    trio twosome"""
_PLURALS = "feet halves hooves knives leaves lives loaves oxen pants scarves shelves species teeth"
_NOUNS = """ally anomaly arkansas assembly atlas award awards awning bed bedding beijing being belly bias biped
    bling bloodshed bobsled boeing breed bully bunkbed bus business butterfly canvas ceiling chess christmas
    clothing constable coward crossbred dallas darling daybed deed dolly dragonfly duckling dumpling earring
    evening family feed firefly flatbed flooring fly frosting gas gosling greed headquarters herring holly housing
    infrared italy james jelly july kansas king las lens lightning lily mathematics mattress meaning mess molly
    monopoly moped morning news offspring opening outing overpass packaging pajamas pancreas paneling paradise
    parasailing paris physics ping plaything ply politics pudding purebred railing rally red reed reply ring
    sapling scaffolding seasoning seaweed seed shed sibling siding sitting-room sled sling speed sports spring
    steed sterling steward string supply tennis texas thing thomas thoroughbred toolshed top trolley vegas
    vegetable viking ward wards wedding weed wing wing-tip wiring wrestling"""

_VERBS = """add admire adore adorn advance allow announce appear applaud apply approach arrange arrive ascend ask
    assemble assist attach attempt attend avoid await bake bask bathe beg begin believe belong bend bless boast
    bounce brandish bring browse build burn bury buy capture carpool carry carve cavort celebrate chase cheer chew
    choose clap clasp cling collaborate collect collide come commit compare compete concentrate confer confront
    congratulate connect consider consist console consume contain continue converse convert crawl create crochet
    cross-examine crouch cry cuddle dangle declare decorate defend define deliver demonstrate depart depict
    descend describe destroy develop devour dig dine discover discuss divide do dominate don donate drag drape
    dribble drool drown duel dunk earn embark embrace embroider emerge encourage engage enjoy ensure enter
    entertain erupt escape euthanize evoke examine exchange excite execute exhale explain explore expose express
    extend fascinate fasten find flaunt flee follow forget freeze gather giggle give glisten gnaw go graze greet
    grimace grind grow growl guess hail hang happen hatch haul hear help hide hire howl huddle hurl hurry ignore
    illustrate imagine impersonate include indicate inflate inhabit inhale inquire inspect inspire install
    instruct interact interview introduce invade investigate invite join juggle keep kill kneel know lather lay
    lean learn leave lick lie listen live lob locate loiter loom lose lurk maintain make manage maneuver marry
    meander measure meditate meet migrate mimic mingle mourn mow munch navigate neglect nestle nibble nod nuzzle
    obey obscure observe obtain operate originate overlook overtake pant participate peck peek perceive perform
    persuade petition pierce plow poke ponder portray possess pounce pour practise prance pray preach prepare
    pretend prevent probe proceed promote propel protect prove provide publish put putt rappel react reassemble
    receive recite recline recreate reduce reflect refuel refuse regard rehearse relate relax rely remain remember
    remind remove rename renew represent require resemble resume retire retrieve reunite reuse reveal rinse roam
    roar rollerblade romp roost ruin say scatter scold scour scrape scrub sculpt secure see seek select sell send
    serve sew shear shiver shrink shrug signify sing siphon sit slouch slump slurp smirk snarl snatch sneak sniff
    sniffle snooze snorkel snow-plow snuggle soak soar socialize soothe sparkle speak speculate spend sprinkle
    squeal squint squirt stab startle steer stomp stoop straddle strum strut stumble submerge submit succeed
    suckle suggest sulk sunbath sunbathe survive swerve swim swirl swivel swoop take teach tease tell tend testify
    thank thaw think thrive tickle tip-toe tiptoe topple trample transform translate traverse tuck unite unload
    unravel unveil unwind unwrap upgrade uproot urge utilize vary veer waddle wade wag wail wait wake wakeboard
    wander want warn water-ski waterski wear weave wed weigh weld whisper wiggle win wipe wrestle write yank"""
_VERBS_OR_NOUNS = """aim answer attack balance bark battle bike bite blend block bloom blow board boost bow break
    brush call care cast catch cause center chat check chop circle clean climb close coach coat color comb
    complete cook cool cover crash crest cross crown cruise cut cycle dance demand design dip direct display dive
    dock draw dress drift drink drip drive drop drum dry eat exercise exit face fall fashion feature feed feel
    fetch fight fill finish fish fit fix flap flex flip float flow fly focus fold form frame frolic fund gain
    gallop garden gaze gesture glance glide glow glue grab grasp grill grin grip groom grunt guard guide hand
    handle harvest heat herd hike hit hold honor hop hover hug hunt hurdle increase jog jump kayak kick kiss kite-
    surf knit knock land last laugh launch lead leap leash lift light like line load lock look lounge love lunge
    march mark mill miss mix mob motion mount move name nap need note notice nurse offer open orbit order own pack
    paddle paint park pass patrol pause pay peak pedal peel peer perch pet photograph pick pile pilot pitch place
    plan plant play plunge point pop pose practice present press produce protest pull punch purchase push question
    quote race raft rage raise reach read reel release rent repair request rescue rest return ride ring rise roast
    rock roll row rub rule run rush sail salute save saw scale scoop score scout scramble scratch scream search
    seat set shake share shave shelter shine shock shoot shop shout shovel show sign signal sink sip skate
    skateboard sketch ski skid skip slam slap sled sleep slice slide slip smash smell smile smoke snap sneeze
    snowboard span spar speed spill spin spiral spit splash spot sprawl spray spread sprint spy squat squeeze
    stack stage stalk stand stare start stay steal step stick stir stitch stop strain stream stretch stride strike
    strip stroll struggle study stuff suit summit supply support surf surprise surround suspect swallow swap swarm
    sway sweat sweep swing tackle tag talk tap taste tattoo tear test thread throw tie tilt tip torch toss touch
    tour tow trace trail train transport travel treat trek trim trot trust try tug tumble turn type use vacuum
    value vault venture view visit vote walk warm wash waste watch wave welcome wheel whip whistle wink wish
    witness wonder work worship wrap yawn yell zip zoom"""
_VERBS_OR_PLURALS = """aim answer attack bike bite blend block bloom board boost bow break brush cast cause check
    chop coach coat color cook cover crest cross crown cruise cut demand design dip display dock drape dress drink
    drip drop drum exercise exit face fashion feature fight fish flap fold form frame fund gain garden gesture
    grill grip guard guide hand handle harvest heat herd honor hurdle increase kiss kite-surf knit knock last
    leash lift light line lock mark mill miss mix mob motion mount name note notice nurse orbit order own pack
    paint park patrol peak perch pet photograph pick pile pilot pitch plan plant plunge pop pose present press
    protest purchase question quote raft rage reel rent request rest ring roast rock roll row rule sail saw scale
    scoop score scout scratch seat set share shelter shock shop shovel show sign signal sink skate sketch ski sled
    slice slide smell snap span spill spin spiral splash spot spray spread spy stack stage stalk stand step stick
    stitch stop strain stream strip study suit summit supply surprise suspect swap swarm sweep swing tag tap test
    thread tip torch tour trace trail train treat trek trust turn value vault venture view vote waste wave wheel
    whip witness work worship zip"""
_PAST = """arose ate became began bent blew bore bought brought came chose crept drank drew drove fled flew forgot
    froze gave got grew heard hid kept knew lay leapt let made meant met overlooked ran rang read rode rose said
    sang sank sat sent shone shook slept slid spoke sprang spun stole stood struck swam swung taught thought threw
    told took tore understood went woke won wore wove wrote"""
_PARTICIPLES = """beaten begun bitten blown born bound bred brought built burnt caught clad crept dealt done drawn
    driven eaten fed felt flown forbidden forgotten found given gone grown held hung hurt inlaid kept known laid led
    lost made overgrown overrun overtaken paid put ridden risen seen sent sewn shaken shaven shed shorn shown
    shrunk shut slain sold spent spilt split spoken sprung stolen strewn stricken strung stuck sunk swept taken
    taught thrown told torn undone woken worn wound woven written"""
_BOUND_PARTICIPLES = """aged bearded breasted checked checkered chested color colored colour coloured covered
    dotted drawn eyed faced filled furred haired handed headed leafed legged lined made patterned plaid roofed
    shaped sided sized skinned sleeved spotted striped tailed themed tiered tiled toothed topped walled wheeled
    winged"""
_SMILING = """ageing aging amazing astounding barking beaming blooming blossoming blowing boiling bouncing
    breathtaking burning bustling captivating charging charming cheering chirping crashing crawling crouching
    crumbling crying dancing dazzling decaying drifting dripping erupting exciting fading falling fascinating
    fighting flashing floating flowering flowing flying galloping gleaming glistening glittering glowing grazing
    grinning growing hanging inspiring interesting jumping kneeling laughing leading leaning leaping looming
    lounging loving lying marching melting mesmerizing missing moving napping outstanding passing peeling playing
    posing prancing racing refreshing relaxing resting rising roaring rolling rotating running screaming
    screeching setting shining singing sitting sleeping smiling smoking snarling sparkling speeding spinning
    sprawling squawking standing steaming strolling stunning surrounding swaying swinging swirling talking
    towering trotting walking winding working yawning yelling"""
_GERUNDS = """baking banking bathing boating bowling boxing building camping canoeing carving climbing cooking
    crossing cutting dining diving drawing dressing drinking ending engraving farming fencing fishing frying
    gambling gaming gathering greeting hiking icing jogging kayaking knitting lighting living marketing mining
    mixing nursing opening painting parking paving printing rafting recycling rowing seating setting sewing
    shopping skateboarding skating skiing snorkeling snowboarding snowmobiling stuffing surfboarding surfing
    swimming topping tubing vending wakeboarding waterskiing welding wrapping"""
_CONJUNCTIONS = "and or & nor/or and/or n"


def _third_person(verb: str) -> str:
    if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
        return verb + "es"
    return verb[:-1] + "ies" if verb.endswith("y") and verb[-2:-1] not in "aeou" else verb + "s"


def _plural(noun: str) -> str:
    return noun[:-3] + "men" if noun.endswith("man") else _third_person(noun)


def _lexicon() -> dict[str, str]:
    """The class of every listed word; of a word that is in two lists, that of the later."""
    verbs, either, people = _VERBS.split(), _VERBS_OR_NOUNS.split(), _PEOPLE.split()
    classes: list[tuple[str, str]] = [
        ("V", _VERBS),
        ("v", _VERBS_OR_NOUNS),
        ("F", " ".join(map(_third_person, verbs + either))),
        ("f", " ".join(map(_third_person, _VERBS_OR_PLURALS.split()))),
        ("E", _PARTICIPLES),
        ("F", _PAST),
        ("I", _SMILING),
        ("M", _GERUNDS),
        ("N", _NOUNS),
        ("S", _PLURALS),
        ("A", " ".join(people)),
        ("P", " ".join(map(_plural, people))),
        ("P", _PLURAL_PEOPLE),
        ("c", _GROUPS),
        ("J", _ADJECTIVES),
        ("Y", _BOUND_PARTICIPLES),
        ("W", _MATERIALS),
        ("L", _COLOURS),
        ("R", _ADVERBS),
        ("q", _DEGREES),
        ("X", _PREPOSITIONS),
        ("H", " ".join(SIDES - {"top"})),
        ("B", " ".join(PRONOUNS)),
        ("Z", _SUBJECTS),
        ("a", _ARTICLES),
        ("d", _COUNTS),
        ("D", _OWNERS),
        ("U", _AUXILIARIES),
        ("h", _HAVE),
        ("T", _MODALS),
        ("C", _CONJUNCTIONS),
        ("t", "there here"),
        ("O", "'s"),
        ("Q", "'"),
        ("K", ","),
        ("-", "-"),
    ]
    return {word: letter for letter, words in classes for word in words.split()}


PAIRS = {(side, "of"): "XX" for side in SIDES} | {
    ("on", "top"): "XX",
    ("close", "up"): "JN",
    ("top", "left"): "HH",
    ("top", "right"): "HH",
}
"""Classes of two words in a row that are not what they are apart."""

_LEXICON = _lexicon()


def word_class(word: str) -> str:
    """The letter of a lower-case word; see `pipeline.spans.phrases` for what the letters mean."""
    if letter := _LEXICON.get(word):
        return letter
    if not any(c.isalpha() for c in word):
        return "n" if any(c.isalnum() for c in word) else "B"
    if len(word) > 4:
        if word.endswith(("ing", "in'")):
            return "J" if "-" in word else "G"
        if word.endswith("ed") and not word.endswith("eed"):
            return "J" if "-" in word else "E"
        if word.endswith(("n't", "'ll", "'d")):
            return "T"
        if word.endswith(("'re", "'ve")):
            return "Z"
        if word.endswith("ly"):
            return "q"
        if word.endswith(("ward", "wards", "wise")):
            return "R"
        if word.endswith(("ize", "ify")):
            return "V"
        if word.endswith(("less", "ous", "ful")) or (len(word) > 7 and word.endswith(("able", "ible"))):
            return "J"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return "S"
    if "-" in word and all(_LEXICON.get(part, "N") in "JLWCE" for part in word.split("-")):
        return "J"
    return "N"
