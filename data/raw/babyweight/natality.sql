-- Births of 2001 to 2008 from BigQuery's public natality table, as files that `babyweight.prepare.source.kind: files` reads.
-- Name your own bucket, run `bq query --use_legacy_sql=false < natality.sql`, and set `babyweight.prepare.source.path`
-- to gs://YOUR-BUCKET/natality, or copy the files and set it to their folder. Without the WHERE clause: all 137,826,763
-- births since 1969. For CSV: format = 'CSV', compression = 'GZIP', header = TRUE, and births-*.csv.gz in the uri.
--
-- The key is a fingerprint of the whole record: equal records go to the same split, and another run of this query
-- changes nothing.
EXPORT DATA OPTIONS (
  uri = 'gs://YOUR-BUCKET/natality/births-*.parquet',
  format = 'PARQUET',
  compression = 'SNAPPY',
  overwrite = TRUE
) AS
SELECT
  weight_pounds,
  is_male,
  mother_age,
  mother_race,
  plurality,
  gestation_weeks,
  mother_married,
  cigarette_use,
  alcohol_use,
  FARM_FINGERPRINT(TO_JSON_STRING(birth)) AS key
FROM `bigquery-public-data.samples.natality` AS birth
WHERE year BETWEEN 2001 AND 2008
