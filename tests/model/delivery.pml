/* SPDX-License-Identifier: MIT */
/*
 * The delivery protocol of docs/DESIGN.md, section 3, at small bounds: one user, one partition, a few messages.
 *
 *     spin -a [-D...] delivery.pml && cc -O2 -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -m100000
 *
 * tests/model/run.py does this for every configuration that matters.
 *
 * Processes
 *   Logic, Retry   accept pushes: ask the router where the user is, then produce ("the bus is the record")
 *   Job            consumes the bus: append to the user's log, commit, tell the comets; rebuilds a store that forgot
 *   Comet(d)       the session of device d: install, register, read the log, live; compare; acknowledge
 *   Acker          an acknowledgement on its way to the store, however late (only with LATE)
 *   Faults         the store forgets everything; the router restarts
 *
 * What stands for what
 *   id 1..bus                  an accepted record; the id is its offset + 1
 *   marker                     the partition's marker: 0 missing, odd: building by that token, even: complete, built by the token before
 *   exists..tagged             the user's record in the store; one write of it is one cas
 *   held                       whose cas unique is still the record's: set by a read, cleared for all by any write, or by amnesia
 *   committed                  the committed offset of the consumer group
 *   an atomic { } block        what one server does at once: a cas, one read of "record, then marker", one turn of the comet's loop
 *
 * Bounds (-D)
 *   N messages, JOBS that may overlap, FJOB job crashes, FSTORE amnesias, FROUTER router restarts, RECONN new sessions
 *   NOCOMPARE    no comparison and no lost tells: with no crash, register-then-read alone must be enough
 *   ONELOOK=1    job looks at the marker after it has read the record, but not again after it has written (it need not)
 *   SPLIT=1      the comet's read of the log takes time: what is told in between is held by the "again" flag
 *   DEVICES=2    two devices with a cursor each, and a topic that restores them (envelopes then carry no address)
 *   RETRY=1      message 1 is pushed again under the same msgid through a second logic, at any moment, even before the first arrives
 *   LIMIT=k      the log holds k messages; the oldest is dropped, counted, and the device told of a gap
 *   EXPIRE=k     k messages may grow older than the TTL: swept from the log at some time, not read again by a rebuild
 *   LATE=k       what is sent may be lost with its connection, and k acknowledgements may be under way for as long as they like
 *
 * Asserted
 *   a device never skips a message, except one that was counted as dropped and that it was told of as a gap     (client_gets)
 *   a device is never given the second record of a msgid                                                        (client_gets)
 *   a device is told of a gap only where something was dropped                                                  (tell_gap)
 *   a cursor never passes what the device has received, or was told is gone, and never moves back               (acknowledge)
 *   the log grows at its end only: a lower id that is missing from it is not wanted any more                    (append)
 *   at rest each device has every accepted message, or was told of the gap                                      (Comet)
 *   nobody is stuck: pan's own check of invalid end states
 *
 * -DPLANT=n plants a fault, and a search must find it:
 *   1 no comparison though tells may be lost           2 rebuild only up to the committed offset
 *   3 content used without the marker                  4 commit before append
 *   5 prev ignored                                     6 rebuild declared complete without cas
 *   7 log read before the session is registered        8 one device's acknowledgement shortens the log for all
 *   9 msgid tags ignored                              10 the limit drops without moving the floor
 *  11 cursor set, not raised                          12 a rebuild does not restore the list of devices
 *  13 "again" cleared when the read returns           14 what was only written is acknowledged
 *  15 no gap is told                                  16 a cas unique of before the amnesia is accepted after it
 *  17 the comparison does not look at the floor       18 an acknowledgement is written without cas
 *  19 a rebuild skips the tags below the floor        20 a rebuild leaves the floor below the start of its range
 *  21 the start of a rebuild is fixed after its end   22 an acknowledgement is written without the marker
 */
#ifndef N
#define N 2
#endif
#ifndef JOBS
#define JOBS 1
#endif
#ifndef FJOB
#define FJOB 1
#endif
#ifndef FSTORE
#define FSTORE 1
#endif
#ifndef FROUTER
#define FROUTER 1
#endif
#ifndef RECONN
#define RECONN 1
#endif
#ifndef SPLIT
#define SPLIT 0
#endif
#ifndef DEVICES
#define DEVICES 1
#endif
#ifndef RETRY
#define RETRY 0
#endif
#ifndef LIMIT
#define LIMIT 0
#endif
#ifndef LATE
#define LATE 0
#endif
#ifndef EXPIRE
#define EXPIRE 0
#endif
#ifndef ONELOOK
#define ONELOOK 0
#endif
#ifndef PLANT
#define PLANT 0
#endif

#define RECORDS (N + RETRY)
#define BIT(i) (1 << (i))
#define UPTO(i) (BIT((i) + 1) - 1)              /* the ids 0..i, as a set */
#define WANTED(i) (log & BIT(i))
#define TWIN(i) (twins & BIT(i))
#define SECOND(i) (TWIN(i) && (twins & UPTO((i) - 1)))
#define ALL (BIT(DEVICES) - 1)

#if ONELOOK
#define STILL true
#else
#define STILL (marker == m0)
#endif
#if PLANT == 3
#define COMPLETE true
#define MAY_READ true
#else
#define COMPLETE (marker != 0 && marker % 2 == 0)
#define MAY_READ ((!rebuilding && m0 != 0 && m0 % 2 == 0) || (rebuilding && m0 == token))
#endif

/* The bus. */
byte bus, committed;
byte address[RECORDS + 1];      /* the session that logic wrote into the envelope, 0 = none */
byte twins;                     /* the set of records that carry the msgid of message 1 */

/* The store: the marker, and the user's record. */
byte marker = 2, tokens = 1;
bool exists;
#if RETRY
byte top;                       /* the highest id that the record has answered for, only to assert that append need not look below it */
#endif
byte log, floor, cursor[DEVICES], tagged;      /* tagged: the id under which the msgid of message 1 was appended, 0 = not */
byte known = ALL;               /* the devices that have a cursor */
byte held;
byte topic[DEVICES];            /* the compacted topic of cursors: may lag */

/* The router. */
byte registered[DEVICES], routergen;

/* The comets. */
mtype = { NONE, INSTALLED, LOADING, READING, LIVE };
mtype state[DEVICES] = NONE;
byte session[DEVICES], delivered[DEVICES], seengen[DEVICES];
bool again[DEVICES];
#if LATE
byte wire[DEVICES];             /* the set of ids written to the connection and not received */
byte received[DEVICES];         /* the highest id received over this connection */
#define RECEIVED(d) received[d]
#else
#define RECEIVED(d) delivered[d]
#endif

/* The clients, and what is counted. */
byte last[DEVICES], gap[DEVICES], dropped;
byte expired;                   /* the ids up to this one are older than the TTL */

/* Faults that are left. */
byte takeover = FJOB + 1;       /* a rebuild that another job has begun is taken over, a bounded number of times */
byte jobcrash = FJOB, amnesia = FSTORE, restart = FROUTER, reconnect = RECONN, expire = EXPIRE;

hidden byte k, n;               /* scratch, inside one atomic block only */

/* ---- client ---- */

inline client_gets(d, i)
{
	assert(!SECOND(i));
	if
	:: i > last[d] ->
		k = last[d] + 1;
		do
		:: k < i -> assert(SECOND(k) || ((dropped & BIT(k)) && k <= gap[d])); k++
		:: else -> break
		od;
		k = 0; last[d] = i
	:: else                 /* a duplicate, of the same id */
	fi
}

inline tell_gap(d, from, to)
{
	assert(dropped & UPTO(to) & ~UPTO(from));
#if PLANT != 15
	if :: to > gap[d] -> gap[d] = to :: else fi
#endif
}

/* ---- comet ---- */

inline send(d, i)
{
	delivered[d] = i;
#if LATE
	wire[d] = wire[d] | BIT(i)
#else
	client_gets(d, i)
#endif
}

/* What a read of the log returned: ids, floor and this device's cursor. A session starts at the cursor. */
inline deliver(d, ids, low, start)
{
	if :: start > delivered[d] -> delivered[d] = start :: else fi;
	if :: low > delivered[d] -> tell_gap(d, delivered[d], low); delivered[d] = low :: else fi;
	n = 1;
	do
	:: n <= RECORDS -> if :: (ids & BIT(n)) && n > delivered[d] -> send(d, n) :: else fi; n++
	:: else -> break
	od;
	n = 0
}

inline tell(d, s, id, prev)
{
	atomic { if
#ifndef NOCOMPARE
	:: true                                                 /* lost */
#endif
	:: s == 0 || s != session[d] || state[d] == NONE        /* no such session: it is in the log */
	:: s != 0 && s == session[d] && state[d] != NONE -> if
		:: state[d] != LIVE -> again[d] = 1             /* held: read once more */
		:: state[d] == LIVE && id <= delivered[d]       /* duplicate */
		:: state[d] == LIVE && id > delivered[d] && (prev <= delivered[d] || PLANT == 5) -> send(d, id)
		:: state[d] == LIVE && id > delivered[d] && prev > delivered[d] && PLANT != 5 -> state[d] = LOADING
		fi
	fi }
}

/* ---- store: the user's record; each of these is inside one atomic block ---- */

/* The log shortens only behind every device's cursor. */
inline shorten()
{
	k = 0; n = 255;
	do
	:: k < DEVICES -> if :: (known & BIT(k)) && cursor[k] < n -> n = cursor[k] :: else fi; k++
	:: else -> break
	od;
	if :: n != 255 && n > floor -> floor = n; log = log & ~UPTO(floor) :: else fi;
	k = 0; n = 0
}

inline acknowledge(d, id)
{
	assert(id <= last[d] || id <= gap[d]);
	held = 0; known = known | BIT(d);
#if PLANT == 11
	cursor[d] = id;
#else
	if :: id > cursor[d] -> cursor[d] = id :: else fi;
#endif
#if PLANT == 8
	if :: id > floor -> floor = id; log = log & ~UPTO(floor) :: else fi
#else
	shorten()
#endif
}

/* The id before this one in the log, else the floor. */
inline previous(id)
{
	prev = floor; k = floor + 1;
	do
	:: k < id -> if :: WANTED(k) -> prev = k :: else fi; k++
	:: else -> break
	od;
	k = 0
}

inline append(id)
{
#if PLANT == 0
	assert(log <= UPTO(id - 1));
#if RETRY
	assert(id > top || id <= floor);
#endif
#endif
#if RETRY
	if :: id > top -> top = id :: else fi;
#endif
	exists = 1; held = 0;
	if :: id > floor -> log = log | BIT(id) :: else fi;     /* else a rebuild that only records the tag */
	if :: TWIN(id) && tagged == 0 -> tagged = id :: else fi;
#if LIMIT
	k = 1; n = 0;
	do
	:: k <= RECORDS -> if :: WANTED(k) -> n++ :: else fi; k++
	:: else -> break
	od;
	if
	:: n > LIMIT ->
		k = 1;
		do :: !WANTED(k) -> k++ :: else -> break od;
		log = log & ~BIT(k); dropped = dropped | BIT(k);
#if PLANT != 10
		floor = k
#endif
	:: else
	fi;
	k = 0; n = 0;
#endif
	previous(id)
}

/* ---- processes ---- */

proctype Logic()
{
	byte a, pushed;
	do
	:: pushed < N ->
#if DEVICES == 1
		a = registered[0];                              /* the router is asked, then the bus accepts */
#endif
		atomic {
			bus++; pushed++; address[bus] = a;
			if :: RETRY && pushed == 1 -> twins = twins | BIT(bus) :: else fi
		}
	:: else -> break
	od
}

#if RETRY
proctype Retry()
{
	byte a;
#if DEVICES == 1
	a = registered[0];
#endif
	atomic { bus++; address[bus] = a; twins = twins | BIT(bus) }
}
#endif

/* What append would answer. Only NEW needs a write. */
mtype = { NEW, STANDING, GONE, REPEATED };

proctype Job(byte me)
{
	byte pos, id, prev, a, m0, token, end;
#if EXPIRE
	byte cut;
#endif
	bool rebuilding, absent;
	mtype answer;
start:	atomic { pos = committed; rebuilding = 0; token = 0; m0 = 0; id = 0; prev = 0; a = 0; end = 0; absent = 0; answer = 0 }
	do
	/* The marker is missing, or another job's rebuild does not end: rebuild, up to the end of the bus as it is now. */
	:: atomic {
		!rebuilding && !COMPLETE && (marker == 0 || takeover > 0) ->
		if :: marker != 0 -> takeover-- :: else fi;
		rebuilding = 1; tokens++; token = 2 * tokens - 1; marker = token;
#if PLANT == 20
		pos = expired;
#else
		pos = 0;                                        /* back to now - TTL, and for tags alone further by the tags' 5 minutes */
#endif
#if EXPIRE && PLANT != 20
		cut = expired;                                  /* fixed together with the end, so never beyond it */
#endif
#if PLANT == 2
		end = committed
#else
		end = bus
#endif
	   };
	   /* First the devices and their cursors, from the compacted topics: merged in, so the order with others' writes is nothing. */
#if DEVICES > 1 && PLANT != 12
	   atomic {
		exists = 1; held = 0; known = ALL; k = 0;
		do
		:: k < DEVICES -> if :: topic[k] > cursor[k] -> cursor[k] = topic[k] :: else fi; k++
		:: else -> break
		od;
		shorten()
	   };
#endif
#if EXPIRE && PLANT != 20
#if PLANT == 21
	   cut = expired;
#endif
	   /* What lies before the range that is appended again is gone, and the floor says so. */
	   atomic {
		exists = 1; held = 0;
		if :: cut > floor -> floor = cut; log = log & ~UPTO(floor) :: else fi;
		cut = 0
	   };
#endif
	   if :: pos >= end -> goto next :: else fi
	:: (rebuilding && pos < end) || (!rebuilding && COMPLETE && pos < bus) ->
		id = pos + 1;
#if PLANT == 4
		if :: !rebuilding && id > committed -> committed = id :: else fi;
#endif
		/* One read: the record, then the marker. */
retry:		atomic {
			m0 = marker; prev = 0;
			if
#if PLANT == 19
			:: id <= floor -> answer = GONE
#else
			:: id <= floor && !(rebuilding && TWIN(id) && tagged == 0) -> answer = GONE
#endif
			:: id > floor && WANTED(id) -> answer = STANDING; previous(id)
			:: id > floor && !WANTED(id) && TWIN(id) && tagged != 0 && PLANT != 9 ->
				answer = REPEATED;
#if RETRY
				if :: MAY_READ && id > top -> top = id :: else fi
#endif
			:: else ->
				answer = NEW; absent = !exists; held = held | BIT(me)
			fi
		};
		if :: !MAY_READ -> atomic { rebuilding = 0; pos = committed; goto next } :: else fi;
		if :: atomic { jobcrash > 0 -> jobcrash--; goto start } :: true fi;
		if
		:: answer == NEW ->
			atomic { if                             /* cas, or add where there was none */
			:: (absent && !exists) || (!absent && (held & BIT(me))) -> append(id); absent = 0
			:: else -> goto retry
			fi };
			if :: !STILL && PLANT != 3 -> atomic { rebuilding = 0; pos = committed; goto next } :: else fi;
			if :: atomic { jobcrash > 0 -> jobcrash--; goto start } :: true fi
		:: else
		fi;
		if
		:: !rebuilding ->
			atomic { if :: id > committed -> committed = id :: else fi };
			if
			:: answer == NEW || answer == STANDING ->
#if DEVICES == 1
				tell(0, address[id], id, prev);
#endif
				a = registered[0]; tell(0, a, id, prev)
#if DEVICES > 1
				; a = registered[1]; tell(1, a, id, prev)
#endif
			:: else
			fi
		:: else
		fi;
		pos = id;
next:		atomic { if
		:: rebuilding && pos >= end ->
			if :: marker == token || PLANT == 6 -> marker = token + 1 :: else fi;   /* cas */
			rebuilding = 0; pos = committed
		:: else
		fi; id = 0; prev = 0; a = 0; m0 = 0; absent = 0; answer = 0 }
	:: atomic { jobcrash > 0 -> jobcrash--; goto start }
	:: atomic { pos >= RECORDS && bus == RECORDS && COMPLETE && amnesia == 0 && !rebuilding -> break }
	od
}

proctype Comet(byte d)
{
#if SPLIT
	byte ids, low, from;
#endif
	do
	:: atomic { state[d] == NONE -> session[d] = 1; state[d] = INSTALLED }
#if PLANT == 7
	:: atomic { state[d] == INSTALLED && COMPLETE -> again[d] = 0; deliver(d, log, floor, cursor[d]); state[d] = READING }
	:: atomic { state[d] == READING -> registered[d] = session[d]; seengen[d] = routergen; state[d] = LIVE }
#else
	:: atomic { state[d] == INSTALLED -> registered[d] = session[d]; seengen[d] = routergen; state[d] = LOADING }
#endif
#if SPLIT
	:: atomic {
		state[d] == LOADING && COMPLETE && seengen[d] == routergen ->
#if PLANT != 13
		again[d] = 0;
#endif
		ids = log; low = floor; from = cursor[d]; state[d] = READING
	   }
	:: atomic {
		state[d] == READING -> deliver(d, ids, low, from); ids = 0; low = 0; from = 0; state[d] = LIVE;
#if PLANT == 13
		again[d] = 0
#endif
	   }
#else
	:: atomic {
		state[d] == LOADING && COMPLETE && seengen[d] == routergen ->
		again[d] = 0; deliver(d, log, floor, cursor[d]); state[d] = LIVE
	   }
#endif
	:: atomic { state[d] == LIVE && again[d] -> state[d] = LOADING }
	:: atomic { (state[d] == LIVE || state[d] == LOADING) && seengen[d] != routergen -> state[d] = INSTALLED }      /* announce again */
#if !defined(NOCOMPARE) && PLANT != 1
#if PLANT == 17
	:: atomic { state[d] == LIVE && COMPLETE && (log & ~UPTO(delivered[d])) -> state[d] = LOADING }
#else
	:: atomic { state[d] == LIVE && COMPLETE && ((log & ~UPTO(delivered[d])) || floor > delivered[d]) -> state[d] = LOADING }
#endif
#endif
#if LATE
	:: atomic {                                             /* in order, over one connection */
		wire[d] != 0 ->
		n = 1;
		do :: !(wire[d] & BIT(n)) -> n++ :: else -> break od;
		wire[d] = wire[d] & ~BIT(n); received[d] = n; client_gets(d, n); n = 0
	   }
#else
	:: atomic { state[d] == LIVE && COMPLETE && exists && delivered[d] > cursor[d] -> acknowledge(d, delivered[d]) }
#endif
	:: atomic {                                             /* a new session; what was on its way is lost */
		reconnect > 0 && state[d] != NONE ->
		reconnect--; session[d]++; state[d] = INSTALLED; delivered[d] = 0; again[d] = 0;
#if SPLIT
		ids = 0; low = 0; from = 0;
#endif
#if LATE
		wire[d] = 0; received[d] = 0
#endif
	   }
	:: atomic { timeout -> break }
	od;
	atomic {
		k = 1;
		do
		:: k <= RECORDS -> assert(SECOND(k) || k <= last[d] || ((dropped & BIT(k)) && k <= gap[d])); k++
		:: else -> break
		od
	}
}

#if LATE
/* The value is fixed when the evidence comes; the session may be long gone when it is written. */
proctype Acker(byte me; byte d)
{
	byte id;
#if PLANT == 16 || PLANT == 18
	byte log0, floor0, amnesia0;
#endif
end:	do
	:: atomic {
		state[d] != NONE &&
#if PLANT == 14
		delivered[d] > cursor[d] -> id = delivered[d]
#else
		received[d] > cursor[d] -> id = received[d]
#endif
	   };
end_wait:  atomic {
		(COMPLETE || PLANT == 22) && exists -> held = held | BIT(me)
#if PLANT == 16 || PLANT == 18
		; log0 = log; floor0 = floor; amnesia0 = amnesia
#endif
	   };
#if PLANT == 18
	   atomic { log = log0; floor = floor0; acknowledge(d, id); id = 0 }
#else
	   atomic { if
	   :: held & BIT(me) -> acknowledge(d, id); id = 0
#if PLANT == 16
	   :: exists && amnesia0 != amnesia -> log = log0; floor = floor0; acknowledge(d, id); id = 0
#endif
	   :: else -> goto end_wait
	   fi }
#endif
	od
}
#endif

proctype Faults()
{
	do
	:: atomic {
		amnesia > 0 ->
		amnesia--;
#if DEVICES > 1
		k = 0;
		do
		:: k < DEVICES -> if :: topic[k] = cursor[k] :: true fi; k++
		:: else -> break
		od;
		known = 0; cursor[1] = 0;
#endif
		marker = 0; exists = 0; held = 0; log = 0; floor = 0; tagged = 0;
#if RETRY
		top = 0;
#endif
		cursor[0] = 0; k = 0
	   }
	:: atomic { amnesia > 0 -> amnesia-- }
	:: atomic {
		restart > 0 ->
		restart--; routergen++; registered[0] = 0
#if DEVICES > 1
		; registered[1] = 0
#endif
	   }
	:: atomic { restart > 0 -> restart-- }
#if EXPIRE
	:: atomic { expire > 0 && expired < bus -> expire--; expired++; dropped = dropped | BIT(expired) }
	:: atomic { expire > 0 -> expire-- }
	:: atomic {
		COMPLETE && exists && (log & UPTO(expired)) ->
		k = expired;
		do :: !WANTED(k) -> k-- :: else -> break od;
		floor = k; log = log & ~UPTO(k); held = 0; k = 0
	   }
#endif
	:: atomic { amnesia == 0 && restart == 0 && expire == 0 -> break }
	od
}

init
{
	atomic {
		run Logic(); run Comet(0); run Faults(); run Job(0);
#if RETRY
		run Retry();
#endif
#if DEVICES > 1
		run Comet(1);
#endif
#if JOBS > 1
		run Job(1);
#endif
#if LATE
		run Acker(2, 0);
#endif
#if LATE > 1
		run Acker(3, 0);
#endif
#if DEVICES > 1 && LATE
		run Acker(4, 1);
#endif
	}
}
