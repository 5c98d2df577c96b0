-- Births of 2001 to 2008 from BigQuery's public natality table, as CSV files that `babyweight.source.kind: csv` reads.
-- Put your own bucket in; then `bq query --use_legacy_sql=false < natality.sql`, copy the files and set
-- `babyweight.source.path` to their folder. Without the WHERE clause: all 137,826,763 births since 1969.
--
-- The key is a fingerprint of the whole record: equal records go to the same split, and running this again changes
-- nothing.
EXPORT DATA OPTIONS (
  uri = 'gs://YOUR-BUCKET/natality/births-*.csv.gz',
  format = 'CSV',
  compression = 'GZIP',
  header = TRUE,
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
