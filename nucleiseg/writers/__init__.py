"""Write predictions as files: COCO results, overlays, GeoJSON, label images, tables; `registry` lists the formats."""
