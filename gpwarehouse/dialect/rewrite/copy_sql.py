"""The parts of the block that rewrites a table by a copy, in PL/pgSQL; ``copy_block`` puts them together.

Two catalogs are told apart: ``classic`` (Greenplum 6: pg_partition_rule, relstorage) and ``declarative`` (Greenplum 7,
PostgreSQL: pg_inherits, relpartbound, relam). Columns that only some servers have are read out of ``row_to_json``.

In the block ``was`` is the old table and ``kids`` are its partitions, of all levels, those above first; ``whole`` is the
name of both, ``parked`` the old one's while the new one is filled. So the server names the new partitions as it always
does, and no name grows.
"""

from __future__ import annotations

BLOCK = """
DECLARE
    was oid;
    kids oid[];
    kid_places text[];
    kid_names text[];
    place text;
    own_name text;
    whole text;
    parked text;
    lost text;
    again text[];
    cols text;
    made text;
    made_leaf text := '';
    divided text := '';
    kid_grants boolean;
    statement text;
BEGIN
    LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;
    was := {old}::regclass::oid;
    SELECT n.nspname, c.relname INTO place, own_name
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = was;
    whole := format('%I.%I', place, own_name);
    parked := format('%I.%I', place, 'gpw_rw_' || was);
    {kids}
    kids := COALESCE(kids, ARRAY[]::oid[]);
    SELECT string_agg(DISTINCT w.what, '; ' ORDER BY w.what) INTO lost FROM (
        {checks}) w;
    IF lost IS NOT NULL THEN
        RAISE EXCEPTION 'table % is not rewritten, for a copy would lose: %', whole, lost
            USING HINT = 'Drop or reset them before and make them again after it, in the same transaction; where '
                'partitions are stored apart, say storage and encodings for all of them.';
    END IF;
    {sense}
    SELECT array_agg(w.sql ORDER BY w.step, w.sql) INTO again FROM (
        {again}) w;
    kid_grants := EXISTS (SELECT 1 FROM pg_catalog.pg_class c WHERE c.oid = ANY (kids) AND c.relacl IS NOT NULL)
        OR EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid = ANY (kids) AND a.attacl IS NOT NULL);
    {template}
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO cols
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = was AND {columns};
    {made}
    {park}
    {partitioned}
    EXECUTE (SELECT CASE c.relpersistence WHEN 'u' THEN 'CREATE UNLOGGED TABLE ' ELSE 'CREATE TABLE ' END
        FROM pg_catalog.pg_class c WHERE c.oid = was)
        || whole || ' (LIKE ' || parked || {like} || {encodings} || ')' || {clauses};
    {children}
    FOR statement IN
        SELECT format('ALTER TABLE %s ALTER COLUMN %I SET STORAGE %s', whole, a.attname, CASE a.attstorage
            WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END)
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
        WHERE a.attrelid = was AND a.attnum > 0 AND NOT a.attisdropped AND a.attstorage <> y.typstorage
    LOOP
        EXECUTE statement;
    END LOOP;
    EXECUTE format('INSERT INTO %s (%s) {overriding}SELECT %s FROM %s', whole, cols, cols, parked);
    {owner}
    FOR statement IN
        SELECT format('ALTER SEQUENCE %s OWNED BY %s.%I', d.objid::regclass, whole, a.attname)
        FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class q ON q.oid = d.objid AND q.relkind = 'S'
        JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.refobjid = was AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'a'
    LOOP
        EXECUTE statement;
    END LOOP;
    {numbers}
    {comments}
    EXECUTE 'DROP TABLE ' || parked;
    FOREACH statement IN ARRAY COALESCE(again, ARRAY[]::text[]) LOOP
        EXECUTE statement;
    END LOOP;
    {granted}
END"""

KIDS = {
    "classic": """SELECT array_agg(c.oid ORDER BY p.parlevel, r.oid), array_agg(c.relname::text ORDER BY p.parlevel, r.oid)
        INTO kids, kid_names
        FROM pg_catalog.pg_partition_rule r JOIN pg_catalog.pg_partition p ON p.oid = r.paroid
        JOIN pg_catalog.pg_class c ON c.oid = r.parchildrelid
        WHERE p.parrelid = was AND NOT p.paristemplate;""",
    "declarative": """WITH RECURSIVE parts (oid, depth) AS (
            SELECT was, 0 UNION ALL SELECT i.inhrelid, p.depth + 1 FROM parts p
            JOIN pg_catalog.pg_inherits i ON i.inhparent = p.oid
            JOIN pg_catalog.pg_class k ON k.oid = i.inhrelid AND k.relispartition)
        SELECT array_agg(p.oid ORDER BY p.depth, p.oid), array_agg(n.nspname::text ORDER BY p.depth, p.oid),
            array_agg(c.relname::text ORDER BY p.depth, p.oid) INTO kids, kid_places, kid_names
        FROM parts p JOIN pg_catalog.pg_class c ON c.oid = p.oid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE p.depth > 0;""",
}

PARK = {
    # Greenplum 6 renames the partitions with the table, where their names start with its name.
    "classic": "EXECUTE format('ALTER TABLE %s RENAME TO %I', whole, 'gpw_rw_' || was);",
    # Greenplum 7 does that too, and could not make the names longer; so the partitions go first, the lowest before.
    "declarative": """FOR nth IN REVERSE COALESCE(array_length(kids, 1), 0) .. 1 LOOP
        EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', kid_places[nth], kid_names[nth], 'gpw_rw_' || kids[nth]);
    END LOOP;
    EXECUTE format('ALTER TABLE %s RENAME TO %I', whole, 'gpw_rw_' || was);""",
}

ALL_COLUMNS = "a.attnum > 0 AND NOT a.attisdropped"
WRITABLE_COLUMNS = f"{ALL_COLUMNS} AND COALESCE(row_to_json(a)->>'attgenerated', '') = ''"

# Not INCLUDING STORAGE: on Greenplum that brings the old WITH (…) too.
LIKE_CLASSIC = "' INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS'"
LIKE = f"""{LIKE_CLASSIC} || ' INCLUDING IDENTITY'
        || CASE WHEN current_setting('server_version_num')::int >= 120000 THEN ' INCLUDING GENERATED' ELSE '' END
        || CASE WHEN current_setting('server_version_num')::int >= 140000 THEN ' INCLUDING COMPRESSION' ELSE '' END"""

# How a relation is stored. They stand in queries of RELATIONS.

RELATIONS = """pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
        LEFT JOIN pg_catalog.pg_am m ON m.oid = c.relam LEFT JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace"""

# Those that a storage says.
STORAGE_OPTIONS = """ARRAY['appendonly', 'appendoptimized', 'orientation', 'compresstype', 'compresslevel', 'blocksize',
            'checksum']"""
_OPTIONS = """(SELECT NULLIF(concat_ws(', ', {first}, string_agg(format('%s=%L',
            CASE WHEN o.place > COALESCE(array_length(c.reloptions, 1), 0) THEN 'toast.' ELSE '' END
                || split_part(o.said, '=', 1), substr(o.said, strpos(o.said, '=') + 1)), ', ')), '')
        FROM unnest({all}) WITH ORDINALITY AS o (said, place)
        WHERE split_part(o.said, '=', 1) <> ALL (({leave})::text[]))"""
OPTIONS = {
    "classic": _OPTIONS.replace("{all}", "c.reloptions"),
    "declarative": _OPTIONS.replace("{all}", "c.reloptions || t.reloptions"),
}
HEAP_CLASSIC = "CASE WHEN c.relstorage = 'h' THEN 'appendonly=false' END"
LEAVE_CLASSIC = "CASE WHEN c.relstorage = 'h' THEN '{appendonly,appendoptimized}' ELSE '{}' END"
TABLESPACE = "COALESCE(' TABLESPACE ' || quote_ident(s.spcname), '')"
METHOD = "COALESCE(CASE WHEN m.amname <> 'heap' OR {heap} THEN ' USING ' || quote_ident(m.amname) END, '')"

MADE_GREENPLUM = f"""SELECT {{clause}} INTO made
        FROM {RELATIONS} WHERE c.oid = was;"""
# On PostgreSQL a partitioned table has a tablespace at most; its partitions have the rest.
MADE_POSTGRESQL = f"""SELECT {{clause}},
        CASE WHEN {{partitioned}} OR ({{kept}} AND k.relkind = 'p')
            THEN COALESCE(' TABLESPACE ' || quote_ident(r.spcname), '') ELSE {{clause}} END
        INTO made_leaf, made
        FROM {RELATIONS}
        JOIN pg_catalog.pg_class k ON k.oid = was LEFT JOIN pg_catalog.pg_tablespace r ON r.oid = k.reltablespace
        WHERE c.oid = COALESCE((SELECT min(l.oid::bigint)::oid FROM pg_catalog.pg_class l
            WHERE l.oid = ANY (kids) AND l.relkind = 'r'), was);"""

ENCODINGS = """COALESCE((
        SELECT string_agg(format(', COLUMN %I ENCODING (%s)', a.attname, array_to_string(e.attoptions, ', ')), ''
            ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute_encoding e JOIN pg_catalog.pg_attribute a
            ON a.attrelid = e.attrelid AND a.attnum = e.attnum AND NOT a.attisdropped
        WHERE e.attrelid = was AND a.attname <> ALL ({said})), '')"""

# The partitions there are.

KEPT_SCHEME = """SELECT ' PARTITION BY ' || pg_get_partkeydef(was) INTO divided
        FROM pg_catalog.pg_class c WHERE c.oid = was AND c.relkind = 'p';
    divided := COALESCE(divided, '');"""

KEPT_CHILDREN = f"""FOR nth IN 1 .. COALESCE(array_length(kids, 1), 0) LOOP
        SELECT format('CREATE TABLE %I.%I PARTITION OF %s %s', kid_places[nth], kid_names[nth],
            CASE i.inhparent WHEN was THEN whole ELSE format('%I.%I', kid_places[array_position(kids, i.inhparent)],
                kid_names[array_position(kids, i.inhparent)]) END, pg_get_expr(c.relpartbound, c.oid))
            || CASE c.relkind WHEN 'p' THEN ' PARTITION BY ' || pg_get_partkeydef(c.oid) ELSE '' END || {{clause}}
            INTO statement
            FROM {RELATIONS}
            JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid WHERE c.oid = kids[nth];
        EXECUTE statement;
        {{match}}
    END LOOP;"""

# WITH (…) of a partition sets the encodings of all its columns.
MATCH_ENCODINGS = """SELECT format('ALTER TABLE %I.%I ', kid_places[nth], kid_names[nth]) || string_agg(
            format('ALTER COLUMN %I SET ENCODING (%s)', a.attname, array_to_string(w.attoptions, ', ')), ', ')
            INTO statement
            FROM pg_catalog.pg_attribute_encoding e
            JOIN pg_catalog.pg_attribute a ON a.attrelid = e.attrelid AND a.attnum = e.attnum
            JOIN pg_catalog.pg_attribute b ON b.attname = a.attname
                AND b.attrelid = CASE WHEN a.attname = ANY ({said}) THEN whole::regclass::oid ELSE kids[nth] END
            JOIN pg_catalog.pg_attribute_encoding w ON w.attrelid = b.attrelid AND w.attnum = b.attnum
            WHERE e.attrelid = format('%I.%I', kid_places[nth], kid_names[nth])::regclass
                AND NOT e.attoptions @> w.attoptions;
        IF statement IS NOT NULL THEN
            EXECUTE statement;
        END IF;"""

# A partition's own name is asked for (tablename) where the old one has left it; else the server finds one.
KEPT_CLASSIC = f"""WITH RECURSIVE rules (oid, level, path) AS (
        SELECT r.oid, 0, ARRAY[r.parruleord::int]
            FROM pg_catalog.pg_partition_rule r JOIN pg_catalog.pg_partition p ON p.oid = r.paroid
            WHERE p.parrelid = was AND p.parlevel = 0 AND NOT p.paristemplate
        UNION ALL SELECT r.oid, u.level + 1, u.path || r.parruleord::int
            FROM pg_catalog.pg_partition_rule r JOIN rules u ON r.parparentrule = u.oid)
    SELECT h.text || string_agg(w.opening || w.text, '' ORDER BY w.path)
            || repeat(')', (array_agg(w.level ORDER BY w.path DESC))[1] + 1) INTO divided
    FROM (SELECT u.path, u.level,
            CASE WHEN lag(u.level) OVER (ORDER BY u.path) IS NULL THEN ' ('
                WHEN lag(u.level) OVER (ORDER BY u.path) < u.level THEN ' ('
                ELSE repeat(')', lag(u.level) OVER (ORDER BY u.path) - u.level) || ', ' END AS opening,
            CASE WHEN r.parisdefault THEN 'DEFAULT ' ELSE '' END
            || CASE WHEN r.parname = '' THEN ''
                ELSE CASE u.level WHEN 0 THEN 'PARTITION ' ELSE 'SUBPARTITION ' END || quote_ident(r.parname) END
            || COALESCE(' START (' || NULLIF(pg_get_expr(r.parrangestart, r.parchildrelid), '') || ')'
                || CASE WHEN r.parrangestartincl THEN ' INCLUSIVE' ELSE ' EXCLUSIVE' END, '')
            || COALESCE(' END (' || NULLIF(pg_get_expr(r.parrangeend, r.parchildrelid), '') || ')'
                || CASE WHEN r.parrangeendincl THEN ' INCLUSIVE' ELSE ' EXCLUSIVE' END, '')
            || COALESCE(' VALUES (' || NULLIF(pg_get_expr(r.parlistvalues, r.parchildrelid), '') || ')', '')
            || ' WITH (' || concat_ws(', ', CASE WHEN left(c.relname, length('gpw_rw_' || was)) = 'gpw_rw_' || was THEN
                format('tablename=%L', own_name || substr(c.relname, length('gpw_rw_' || was) + 1)) END,
                {{settings}}) || ')' || COALESCE({{encodings}}, '') || {{tablespace}} AS text
        FROM rules u JOIN pg_catalog.pg_partition_rule r ON r.oid = u.oid
        JOIN ({RELATIONS}) ON c.oid = r.parchildrelid) w,
        (SELECT string_agg(format(' %sPARTITION BY %s (%s)', CASE p.parlevel WHEN 0 THEN '' ELSE 'SUB' END,
            CASE p.parkind WHEN 'r' THEN 'RANGE' ELSE 'LIST' END, (SELECT string_agg(quote_ident(a.attname), ', ')
                FROM pg_catalog.pg_attribute a WHERE a.attrelid = was AND a.attnum = ANY (p.paratts::int2[]))),
            '' ORDER BY p.parlevel) AS text
        FROM pg_catalog.pg_partition p WHERE p.parrelid = was AND NOT p.paristemplate) h
    GROUP BY h.text;
    divided := COALESCE(divided, '');"""

LEAF_ENCODINGS = """(SELECT string_agg(format(' COLUMN %I ENCODING (%s)', a.attname, array_to_string(e.attoptions, ', ')), '')
                FROM pg_catalog.pg_attribute_encoding e
                JOIN pg_catalog.pg_attribute a ON a.attrelid = e.attrelid AND a.attnum = e.attnum AND NOT a.attisdropped
                JOIN pg_catalog.pg_attribute b ON b.attrelid = was AND b.attname = a.attname
                LEFT JOIN pg_catalog.pg_attribute_encoding f ON f.attrelid = was AND f.attnum = b.attnum
                WHERE e.attrelid = c.oid AND a.attname <> ALL ({said})
                    AND (f.attoptions IS NULL OR NOT e.attoptions @> f.attoptions))"""

TEMPLATE = """IF EXISTS (SELECT 1 FROM pg_catalog.pg_partition p WHERE p.parrelid = was AND p.paristemplate) THEN
        again := again || pg_get_partition_template_def(was, true, false);
    END IF;"""

FOUND_SCHEME = {
    "classic": """SELECT 1 FROM pg_catalog.pg_partition p JOIN pg_catalog.pg_attribute a
        ON a.attrelid = was AND a.attnum = p.paratts[0] WHERE p.parrelid = was AND p.parlevel = 0 AND NOT p.paristemplate
        AND p.parkind""",
    "declarative": """SELECT 1 FROM pg_catalog.pg_partitioned_table p JOIN pg_catalog.pg_attribute a
        ON a.attrelid = was AND a.attnum = p.partattrs[0] WHERE p.partrelid = was AND p.partstrat""",
}
SCHEME = """IF NOT EXISTS ({found} = '{method}' AND a.attname = {column}) THEN
        RAISE EXCEPTION 'table % is not partitioned by % in that way; say repartition=True to change it', whole, {column};
    END IF;"""

BY_COLUMN = {
    "classic": "SELECT 1 FROM pg_catalog.pg_class c WHERE c.oid = was AND c.relstorage = 'c'",
    "declarative": """SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_am m ON m.oid = c.relam
        WHERE c.oid = was AND m.amname = 'ao_column'""",
}
COLUMNS = """IF NOT EXISTS ({found}) THEN
        RAISE EXCEPTION 'table % is not stored by column, so its columns have no encodings; set its storage first', whole;
    END IF;"""

# What is made again once the new table has the name.

AGAIN = (
    """SELECT 1 AS step, format('ALTER TABLE %s ADD CONSTRAINT %I %s', whole, k.conname, pg_get_constraintdef(k.oid)) AS sql
            FROM pg_catalog.pg_constraint k WHERE k.conrelid = was AND k.contype IN ('p', 'u', 'x')""",
    """SELECT 2, replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ') FROM pg_catalog.pg_index i
            WHERE i.indrelid = was AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k
                WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))""",
    """SELECT 3, format('ALTER TABLE %s ADD CONSTRAINT %I %s', whole, k.conname, pg_get_constraintdef(k.oid))
            FROM pg_catalog.pg_constraint k WHERE k.conrelid = was AND k.contype = 'f'""",
    """SELECT 4, format('COMMENT ON TABLE %s IS %L', whole, obj_description(was, 'pg_class'))
            WHERE obj_description(was, 'pg_class') IS NOT NULL""",
    """SELECT 4, format('COMMENT ON INDEX %I.%I IS %L', place, c.relname, obj_description(c.oid, 'pg_class'))
            FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
            WHERE i.indrelid = was AND obj_description(c.oid, 'pg_class') IS NOT NULL""",
    """SELECT 4, format('COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, whole, obj_description(k.oid, 'pg_constraint'))
            FROM pg_catalog.pg_constraint k WHERE k.conrelid = was AND k.contype IN ('p', 'u', 'x', 'f')
                AND obj_description(k.oid, 'pg_constraint') IS NOT NULL""",
    """SELECT 5, format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS %s', whole, a.attname, a.attstattarget)
            FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = was AND a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget >= 0""",
    """SELECT 5, format('ALTER TABLE %s ALTER COLUMN %I SET (%s)', whole, a.attname, array_to_string(a.attoptions, ', '))
            FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = was AND a.attnum > 0 AND NOT a.attisdropped AND a.attoptions IS NOT NULL""",
    """SELECT 7, pg_get_ruledef(r.oid) FROM pg_catalog.pg_rewrite r WHERE r.ev_class = was""",
    """SELECT 8, format('REVOKE ALL ON TABLE %s FROM %I', whole, pg_get_userbyid(c.relowner))
            FROM pg_catalog.pg_class c WHERE c.oid = was AND c.relacl IS NOT NULL""",
    """SELECT 9, format('GRANT %s ON TABLE %s TO %s%s', a.privilege_type, whole,
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
            CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
            FROM (SELECT (aclexplode(c.relacl)).* FROM pg_catalog.pg_class c WHERE c.oid = was) a""",
    """SELECT 9, format('GRANT %s (%I) ON TABLE %s TO %s%s', a.privilege_type, a.attname, whole,
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
            CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
            FROM (SELECT b.attname, (aclexplode(b.attacl)).* FROM pg_catalog.pg_attribute b WHERE b.attrelid = was) a""",
)
AGAIN_DECLARATIVE = (
    "SELECT 6, pg_get_statisticsobjdef(s.oid) FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = was",
    """SELECT 7, format('ALTER STATISTICS %I.%I OWNER TO %I', n.nspname, s.stxname, pg_get_userbyid(s.stxowner))
            FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
            WHERE s.stxrelid = was""",
    """SELECT 7, format('COMMENT ON STATISTICS %I.%I IS %L', n.nspname, s.stxname, obj_description(s.oid, 'pg_statistic_ext'))
            FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
            WHERE s.stxrelid = was AND obj_description(s.oid, 'pg_statistic_ext') IS NOT NULL""",
)

# The copy's owner, and no grants but the old table's: default privileges would have added theirs.
_REVOKE = """FOR statement IN
        SELECT DISTINCT format('REVOKE ALL ON TABLE %s FROM %s', a.relation,
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
        FROM (SELECT c.oid::regclass AS relation, c.relowner, (aclexplode(c.relacl)).grantee
            FROM pg_catalog.pg_class c WHERE {these}) a WHERE a.grantee <> a.relowner
    LOOP
        EXECUTE statement;
    END LOOP;"""
_OWN = "EXECUTE format('ALTER TABLE %s OWNER TO %I', whole, (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = was));"
OWNER = {
    "classic": f"{_OWN}\n    {_REVOKE.format(these='c.oid = whole::regclass')}",
    "declarative": f"""FOR statement IN
        WITH RECURSIVE parts (oid) AS (SELECT whole::regclass::oid UNION ALL
            SELECT i.inhrelid FROM parts p JOIN pg_catalog.pg_inherits i ON i.inhparent = p.oid)
        SELECT format('ALTER TABLE %s OWNER TO %I', p.oid::regclass, pg_get_userbyid(c.relowner))
        FROM parts p JOIN pg_catalog.pg_class c ON c.oid = was
    LOOP
        EXECUTE statement;
    END LOOP;
    {
        _REVOKE.format(
            these='''c.oid IN (WITH RECURSIVE parts (oid) AS (SELECT whole::regclass::oid UNION ALL
                SELECT i.inhrelid FROM parts p JOIN pg_catalog.pg_inherits i ON i.inhparent = p.oid)
                SELECT p.oid FROM parts p)'''
        )
    }""",
}

# Comments of partitions go to those of the same bounds. Their places in the tree are compared, for names may change.

_PLACES = {
    "classic": """parts (root, oid, rule, bounds) AS (
            SELECT p.parrelid, r.parchildrelid, r.oid, ARRAY[{bound}] FROM pg_catalog.pg_partition_rule r
                JOIN pg_catalog.pg_partition p ON p.oid = r.paroid
                WHERE p.parrelid IN (was, whole::regclass) AND p.parlevel = 0 AND NOT p.paristemplate
            UNION ALL SELECT u.root, r.parchildrelid, r.oid, u.bounds || {bound}
                FROM pg_catalog.pg_partition_rule r JOIN parts u ON r.parparentrule = u.rule)""".replace(
        "{bound}",
        """concat_ws(' ', r.parisdefault, pg_get_expr(r.parrangestart, r.parchildrelid), r.parrangestartincl, 'to',
                pg_get_expr(r.parrangeend, r.parchildrelid), r.parrangeendincl, pg_get_expr(r.parlistvalues, r.parchildrelid))""",
    ),
    "declarative": """parts (root, oid, bounds) AS (
            SELECT c.oid, c.oid, ARRAY[]::text[] FROM pg_catalog.pg_class c WHERE c.oid IN (was, whole::regclass)
            UNION ALL SELECT p.root, c.oid, p.bounds || pg_get_expr(c.relpartbound, c.oid) COLLATE "default"
                FROM parts p JOIN pg_catalog.pg_inherits i ON i.inhparent = p.oid
                JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition)""",
}
_COMMENTS = """FOR statement, lost IN
        WITH RECURSIVE {places}
        SELECT CASE WHEN n.oid IS NOT NULL
                THEN format('COMMENT ON TABLE %s IS %L', n.oid::regclass, obj_description(o.oid, 'pg_class')) END,
            (SELECT kid_names[k] FROM generate_subscripts(kids, 1) k WHERE kids[k] = o.oid)
        FROM parts o LEFT JOIN parts n ON n.root <> was AND n.bounds = o.bounds
        WHERE o.oid = ANY (kids) AND obj_description(o.oid, 'pg_class') IS NOT NULL
    LOOP
        IF statement IS NULL THEN
            RAISE EXCEPTION 'table % is not rewritten, for a copy would lose: the comment of %, as no new partition has its '
                'bounds', whole, lost USING HINT = 'Take it away before (COMMENT ON TABLE ... IS NULL), if it may go.';
        END IF;
        EXECUTE statement;
    END LOOP;"""
COMMENTS = {kind: _COMMENTS.format(places=places) for kind, places in _PLACES.items()}

# On PostgreSQL GRANT leaves partitions out. Those of partitions are the table's here, or they were refused.
GRANTED = """IF kid_grants THEN
        FOR statement IN
            WITH RECURSIVE parts (oid) AS (SELECT whole::regclass::oid UNION ALL
                SELECT i.inhrelid FROM parts p JOIN pg_catalog.pg_inherits i ON i.inhparent = p.oid)
            SELECT format('GRANT %s %s ON TABLE %s TO %s%s', g.privilege_type, g.cols, p.oid::regclass,
                CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
                CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
            FROM parts p, (SELECT '' AS cols, (aclexplode(c.relacl)).* FROM pg_catalog.pg_class c
                    WHERE c.oid = whole::regclass
                UNION ALL SELECT format('(%I)', a.attname), (aclexplode(a.attacl)).* FROM pg_catalog.pg_attribute a
                    WHERE a.attrelid = whole::regclass) g
            WHERE p.oid <> whole::regclass
        LOOP
            EXECUTE statement;
        END LOOP;
    END IF;"""

# Identity columns go on from where they were; their sequences keep their names.
NUMBERS = """FOR statement IN
        SELECT format('SELECT setval(%L, s.last_value, s.is_called) FROM %s s',
            pg_get_serial_sequence(whole, a.attname), pg_get_serial_sequence(parked, a.attname))
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = was AND a.attidentity <> '' AND NOT a.attisdropped
    LOOP
        EXECUTE statement;
    END LOOP;
    again := again || ARRAY(SELECT format('ALTER SEQUENCE %s RENAME TO %I', pg_get_serial_sequence(whole, a.attname),
            (SELECT q.relname FROM pg_catalog.pg_class q WHERE q.oid = pg_get_serial_sequence(parked, a.attname)::regclass))
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = was AND a.attidentity <> '' AND NOT a.attisdropped);"""
